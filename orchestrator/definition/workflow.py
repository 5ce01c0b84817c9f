"""Workflow: a definition of states and transitions, checked when it is built and immutable afterwards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, get_args, get_type_hints

import attrs
import orjson

from orchestrator.clock import Clock
from orchestrator.definition.machine import ENGINE_TRIGGERS, FINISH, PUT_BACK, STATIONS, Machine, Move
from orchestrator.definition.retry_policy import RetryPolicy
from orchestrator.definition.state import Back, C, NextRound, Repeat, S, State
from orchestrator.errors import DefinitionError
from orchestrator.secret import fields_of

RESERVED = frozenset({"context", "instance", "round", "start_lag"})
"""Names that fingerprints and statistics use for themselves."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""Of a state: thresholds and reports put a dot, a blank or a line behind it."""
COMPLETED = "completed"
"""The end of a workflow that names no other."""


@attrs.frozen(kw_only=True)
class ServiceContext:
    """What the engine tells a workflow's ``open_services``."""

    run_id: str | None
    """``None`` when nothing is going to be driven, only looked at (``doctor``)."""
    check_lease: Callable[[], None]
    """Call it before every request: it raises when this process may not send any (its lease has run out)."""
    directory: Path | None
    """Where services may keep files of their own; ``None``: nowhere."""
    seal: Callable[[bytes], bytes]
    """Encrypts what is kept there, with the key that seals checkpoints."""
    unseal: Callable[[bytes], bytes]
    concurrency: int
    clock: Clock
    alone: bool = True
    """Whether this process drives the whole run; otherwise others share the tenant with it at the same time."""


Services = Callable[[Any, ServiceContext], AbstractAsyncContextManager[Any]]
Migration = Callable[[dict[str, Any]], dict[str, Any]]


@attrs.frozen(kw_only=True)
class Proof:
    """What a completed instance has shown, for people and for ``--json``."""

    facts: Mapping[str, str]
    """Label → value, in the order to print; no secrets."""


@attrs.frozen
class Segment:
    """A named stretch of a workflow that is timed as a whole: from when ``first`` was due until ``last`` is done."""

    name: str
    first: str
    last: str


@attrs.frozen
class Quota:
    """How many of a kind exist on the other side, and how many there may be at most."""

    existing: int
    most: int


def _no_rates(settings: object) -> Mapping[str, float]:
    return {}


def _no_notices() -> tuple[str, ...]:
    return ()


def _no_settings() -> None:
    return None


@attrs.frozen(kw_only=True)
class Workflow(Generic[C, S]):
    """The definition of a workflow.

    Raises:
        DefinitionError: A target is unknown, a state or an end unreachable, an outcome undeclared, a name used
            twice, a backward transition unbounded, a state without a way to look that says it has one.
    """

    name: str
    version: int = 1
    context: type[C]
    """The context class: frozen attrs, holding what cattrs can read back from JSON (attrs classes, enums, dates, collections
    …). Fields of type ``Secret`` are encrypted in the store. JSON has no NaN and no infinity: they come back as ``None``."""
    states: tuple[State[C, S], ...]
    """The first one is where instances start."""
    ends: tuple[str, ...] = (COMPLETED,)
    initial_context: Callable[[str, int, Any], C]
    """Run id, number of the instance, settings → its first context. Secrets that the states will need (a
    password, a key) are made here, so that they are stored before they are used."""
    open_services: Services
    """Settings, :class:`ServiceContext` → what all instances of a process share, as an async context manager.
    Raises :class:`~orchestrator.errors.ServicesError` when it cannot be had."""
    settings: type[Any] | Callable[[], None] = _no_settings
    """A frozen attrs class whose fields the command line turns into flags, variables and keys."""
    prove: Callable[[C], Proof] | None = None
    """What a completed instance has shown."""
    check: Callable[[S], Awaitable[Mapping[str, str]]] | None = None
    """Asks the other side whether it answers, changing nothing: label → fact (the command ``doctor``)."""
    notices: Callable[[], Sequence[str]] = _no_notices
    """Facts about this installation that a user should know: in the first line of a run, and in ``doctor``."""
    rates: Callable[[Any], Mapping[str, float]] = _no_rates
    """Settings → rate group → attempts per second, where the user says nothing."""
    quotas: Callable[[S], Awaitable[Mapping[str, Quota]]] | None = None
    """Asks the other side how many more it can hold of what every instance makes one of: kind of effect → room."""
    segments: tuple[Segment, ...] = ()
    """What is timed beside the states and the whole instance."""
    migrations: Mapping[int, Migration] = attrs.field(factory=dict)
    """Version *from* which → a function that turns a stored instance (JSON data) into one of the next version."""
    summary: str = ""
    """One line for people."""

    machine: Machine = attrs.field(init=False, repr=False, eq=False)
    state_named: Mapping[str, State[C, S]] = attrs.field(init=False, repr=False, eq=False)
    fingerprints: Mapping[str, str] = attrs.field(init=False, repr=False, eq=False)
    """State → fingerprint, and under ``context`` that of the context class."""
    round_start: str | None = attrs.field(init=False, repr=False, eq=False)
    """The state in which a further round begins (the target of :class:`NextRound`); ``None``: instances do not go round."""
    round_end: str | None = attrs.field(init=False, repr=False, eq=False)
    """The state that ends a round."""
    again: str | None = attrs.field(init=False, repr=False, eq=False)
    """Its outcome that begins another one."""
    definition: str = attrs.field(init=False, repr=False, eq=False)
    """Fingerprint of the whole definition: what a checkpoint names."""

    def __attrs_post_init__(self) -> None:
        set_ = object.__setattr__
        _check_names(self)
        set_(self, "state_named", {state.name: state for state in self.states})
        moves = _moves(self)
        ways = [(s.name, outcome, to) for s in self.states for outcome, to in s.transitions.items() if isinstance(to, NextRound)]
        if len(ways) > 1:
            raise DefinitionError(self.name, f"a round may begin anew in one place only, not from {_named(ways)}")
        round_end, again, way = ways[0] if ways else (None, None, None)
        set_(self, "round_start", way and way.target)
        set_(self, "round_end", round_end)
        set_(self, "again", again)
        _check_segments(self)
        _check_reachable(self, moves)
        set_(self, "machine", Machine([s.name for s in self.states], self.ends, moves))
        prints = {state.name: _fingerprint(state) for state in self.states}
        prints["context"] = _digest(_shape(self.context))
        set_(self, "fingerprints", prints)
        set_(self, "definition", _digest([self.name, self.version, prints]))

    @property
    def in_round(self) -> frozenset[str]:
        """The states of a round; none if instances do not go round."""
        if self.round_start is None or self.round_end is None:
            return frozenset()
        first, last = self.order(self.round_start), self.order(self.round_end)
        return frozenset(state.name for state in self.states[first - 1 : last])

    @property
    def initial(self) -> str:
        """The state in which instances start."""
        return self.states[0].name

    def back(self, state: str, outcome: str) -> Back | None:
        """The backward transition behind this outcome, if it is one."""
        target = self.state_named[state].transitions[outcome]
        return target if isinstance(target, Back) else None

    def order(self, state: str) -> int:
        """Position of a state in the definition, from 1; one more than the last for anything else."""
        for index, known in enumerate(self.states, start=1):
            if known.name == state:
                return index
        return len(self.states) + 1


def _check_names(workflow: Workflow[Any, Any]) -> None:
    if not workflow.states:
        raise DefinitionError(workflow.name, "has no states")
    if not workflow.ends:
        raise DefinitionError(workflow.name, "has no end")
    if not attrs.has(workflow.context):
        raise DefinitionError(workflow.name, f"its context {workflow.context.__name__} is not an attrs class")
    for state in workflow.states:
        if not _NAME.fullmatch(state.name):
            raise DefinitionError(workflow.name, f"the state {state.name!r} is not named in small letters, digits and _")
        for name, kind in (("retry", RetryPolicy), ("rollback_retry", RetryPolicy), ("timeout", timedelta), ("repeat", Repeat)):
            if not isinstance(value := getattr(state, name), kind):
                raise DefinitionError(workflow.name, f"state {state.name!r}: {name} is {value!r}, not a {kind.__name__}")
    taken = set(STATIONS) | RESERVED
    for name in (*(state.name for state in workflow.states), *workflow.ends, *(span.name for span in workflow.segments)):
        if name in taken:
            why = "is a name of the engine's own" if name in STATIONS or name in RESERVED else "is used twice"
            raise DefinitionError(workflow.name, f"the name {name!r} {why}")
        taken.add(name)


def _moves(workflow: Workflow[Any, Any]) -> list[Move]:
    order = {state.name: index for index, state in enumerate(workflow.states)}
    moves = []
    for state in workflow.states:
        if state.repeat is Repeat.AFTER_RECOVERY and not state.can_recover:
            raise DefinitionError(
                workflow.name,
                f"state {state.name!r} may be repeated only after a look but has no recover handler; write one, or set "
                "repeat to Repeat.FREELY or Repeat.NEVER",
            )
        table = getattr(state, "transitions", {})
        for outcome in sorted(state.outcomes - table.keys()):
            raise DefinitionError(workflow.name, f"state {state.name!r} may end with {outcome!r} but has no transition for it")
        for outcome, to in table.items():
            if outcome in ENGINE_TRIGGERS or outcome.startswith((FINISH, PUT_BACK)):
                raise DefinitionError(
                    workflow.name, f"state {state.name!r}: the outcome {outcome!r} is a name of the engine's own"
                )
            if outcome not in state.outcomes:
                raise DefinitionError(
                    workflow.name, f"state {state.name!r} has a transition for {outcome!r}, an outcome that it does not declare"
                )
            target = to.target if isinstance(to, Back) else to
            if target not in order and target not in workflow.ends:
                raise DefinitionError(
                    workflow.name, f"state {state.name!r} goes to {target!r} on {outcome!r}, and there is no such state"
                )
            backward = target in order and order[target] <= order[state.name]
            if backward and not isinstance(to, Back):
                raise DefinitionError(
                    workflow.name,
                    f"state {state.name!r} goes back to {target!r} on {outcome!r} without a bound; "
                    f"write Back({target!r}, at_most=…)",
                )
            if not backward and isinstance(to, Back):
                raise DefinitionError(workflow.name, f"state {state.name!r}: {target!r} lies ahead, so {outcome!r} is not a Back")
            moves.append(Move(state.name, outcome, target, backward))
    return moves


def _named(ways: Iterable[tuple[str, str, NextRound]]) -> str:
    return " and ".join(f"{state}.{outcome}" for state, outcome, _ in ways)


def _check_segments(workflow: Workflow[Any, Any]) -> None:
    for span in workflow.segments:
        for name in (span.first, span.last):
            if name not in workflow.state_named:
                raise DefinitionError(workflow.name, f"the span {span.name!r} names the state {name!r}, and there is none")


def _check_reachable(workflow: Workflow[Any, Any], moves: Sequence[Move]) -> None:
    reached = _closure({workflow.initial}, [(m.source, m.target) for m in moves])
    for name in (*(s.name for s in workflow.states), *workflow.ends):
        if name not in reached:
            kind = "end" if name in workflow.ends else "state"
            raise DefinitionError(workflow.name, f"the {kind} {name!r} cannot be reached from {workflow.initial!r}")
    ending = _closure(set(workflow.ends), [(m.target, m.source) for m in moves])
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


def _fingerprint(state: State[Any, Any]) -> str:
    table = {
        outcome: [to.target, to.at_most] if isinstance(to, Back) else [to] for outcome, to in sorted(state.transitions.items())
    }
    return _digest([state.name, state.version, table, state.repeat.value, state.can_recover, state.can_roll_back])


def _shape(kind: Any, seen: tuple[Any, ...] = ()) -> list[Any]:
    """The names and types of a context's fields, down through the classes in it that have fields."""
    names = fields_of(kind) if isinstance(kind, type) and kind not in seen else None
    if names is not None:
        hints = get_type_hints(kind)
        return [[name, _shape(hints.get(name), (*seen, kind))] for name in names]
    name = kind.__qualname__ if isinstance(kind, type) else str(kind)
    return [name, *(_shape(inner, seen) for inner in get_args(kind))]


def _digest(data: object) -> str:
    return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
