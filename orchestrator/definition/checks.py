"""The checks of a workflow when it is built. Each raises :class:`~orchestrator.errors.DefinitionError`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs

from orchestrator.definition.machine import ENGINE_TRIGGERS, FINISH, PUT_BACK, STATIONS, Move
from orchestrator.definition.retry_policy import RetryPolicy
from orchestrator.definition.state import AnyState, Back, NextRound, Repeat
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    from orchestrator.definition.workflow import AnyWorkflow

RESERVED = frozenset({"context", "instance", "round", "start_lag"})
"""Names that fingerprints and statistics use."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""Of a state. In thresholds and reports a dot, a blank or a line break follows it."""
_KINDS = (("retry", RetryPolicy), ("rollback_retry", RetryPolicy), ("timeout", timedelta), ("repeat", Repeat))


def check(workflow: AnyWorkflow) -> None:
    """Refuse a definition that cannot be driven."""
    _check_parts(workflow)
    _check_names(workflow)
    for state in workflow.states:
        _check_state(workflow, state)
    moves = list(declared_moves(workflow.states))
    for move in moves:
        _check_move(workflow, move)
    _check_rounds(workflow, moves)
    _check_segments(workflow)
    _check_reachable(workflow, moves)


def declared_moves(states: Iterable[AnyState]) -> Iterator[Move]:
    """The transitions that the states declare, as rows of the machine."""
    for state in states:
        for outcome, to in state.transitions.items():
            yield Move(state.name, outcome, to.target, to) if isinstance(to, Back) else Move(state.name, outcome, to)


def _check_parts(workflow: AnyWorkflow) -> None:
    if not workflow.states:
        raise DefinitionError(workflow.name, "has no states")
    if not workflow.ends:
        raise DefinitionError(workflow.name, "has no end")
    if not attrs.has(workflow.context):
        raise DefinitionError(workflow.name, f"its context {workflow.context.__name__} is not an attrs class")


def _check_names(workflow: AnyWorkflow) -> None:
    for state in workflow.states:
        if not _NAME.fullmatch(state.name):
            raise DefinitionError(
                workflow.name,
                f"the name of the state {state.name!r} must begin with a lower-case letter and hold only a-z, 0-9 and _",
            )
    taken = {*STATIONS, *RESERVED}
    for name in (*(state.name for state in workflow.states), *workflow.ends, *(segment.name for segment in workflow.segments)):
        if name in taken:
            why = "is reserved for the engine" if name in STATIONS or name in RESERVED else "is used twice"
            raise DefinitionError(workflow.name, f"the name {name!r} {why}")
        taken.add(name)


def _check_state(workflow: AnyWorkflow, state: AnyState) -> None:
    for name, kind in _KINDS:
        if not isinstance(value := getattr(state, name), kind):
            raise DefinitionError(workflow.name, f"state {state.name!r}: {name} is {value!r}, not a {kind.__name__}")
    if state.repeat is Repeat.AFTER_RECOVERY and not state.can_recover:
        raise DefinitionError(
            workflow.name,
            f"state {state.name!r} may be repeated only after recovery but has no recover handler; write one, or set "
            "repeat to Repeat.FREELY or Repeat.NEVER",
        )
    if not hasattr(state, "transitions"):
        raise DefinitionError(workflow.name, f"state {state.name!r} has no transitions")
    for outcome in sorted(state.outcomes - state.transitions.keys()):
        raise DefinitionError(workflow.name, f"state {state.name!r} may end with {outcome!r} but has no transition for it")
    for outcome in state.transitions:
        if outcome in ENGINE_TRIGGERS or outcome.startswith((FINISH, PUT_BACK)):
            raise DefinitionError(workflow.name, f"state {state.name!r}: the outcome {outcome!r} is reserved for the engine")
        if outcome not in state.outcomes:
            raise DefinitionError(
                workflow.name, f"state {state.name!r} has a transition for {outcome!r}, an outcome that it does not declare"
            )


def _check_move(workflow: AnyWorkflow, move: Move) -> None:
    order = {state.name: index for index, state in enumerate(workflow.states)}
    if move.target not in order and move.target not in workflow.ends:
        raise DefinitionError(
            workflow.name, f"state {move.source!r} goes to {move.target!r} on {move.trigger!r}, and there is no such state"
        )
    leads_back = move.target in order and order[move.target] <= order[move.source]
    if leads_back and move.back is None:
        raise DefinitionError(
            workflow.name,
            f"state {move.source!r} goes back to {move.target!r} on {move.trigger!r} without a bound; "
            f"write Back({move.target!r}, at_most=…)",
        )
    if move.back is not None and not leads_back:
        raise DefinitionError(
            workflow.name, f"state {move.source!r}: {move.target!r} is a later state, so {move.trigger!r} must not be a Back"
        )


def _check_rounds(workflow: AnyWorkflow, moves: Iterable[Move]) -> None:
    rounds = [f"{move.source}.{move.trigger}" for move in moves if isinstance(move.back, NextRound)]
    if len(rounds) > 1:
        raise DefinitionError(workflow.name, f"only one transition may be a NextRound, not {' and '.join(rounds)}")


def _check_segments(workflow: AnyWorkflow) -> None:
    for segment in workflow.segments:
        for name in (segment.first, segment.last):
            if name not in workflow.state_named:
                raise DefinitionError(workflow.name, f"the segment {segment.name!r} names an unknown state {name!r}")


def _check_reachable(workflow: AnyWorkflow, moves: Sequence[Move]) -> None:
    reached = _closure({workflow.initial}, [(move.source, move.target) for move in moves])
    for name in (*(state.name for state in workflow.states), *workflow.ends):
        if name not in reached:
            kind = "end" if name in workflow.ends else "state"
            raise DefinitionError(workflow.name, f"the {kind} {name!r} cannot be reached from {workflow.initial!r}")
    ending = _closure(set(workflow.ends), [(move.target, move.source) for move in moves])
    for state in workflow.states:
        if state.name not in ending:
            raise DefinitionError(workflow.name, f"no end can be reached from the state {state.name!r}")


def _closure(start: set[str], edges: Sequence[tuple[str, str]]) -> set[str]:
    reached, growing = set(start), True
    while growing:
        before = len(reached)
        reached |= {target for source, target in edges if source in reached}
        growing = len(reached) > before
    return reached
