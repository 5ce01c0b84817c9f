"""The machine of a workflow: a table of moves, executed by one ``transitions.Machine``.

Rules of this file:

* Every move of an instance is a row of the table, the moves of the engine included. The table is checked, executed,
  fingerprinted and drawn by iterating over :class:`Machine`. A move without a row raises an error and changes nothing.
* All instances of a workflow share one synchronous machine. No model is ever added to it (``add_model`` searches a list and
  costs more than a request), and it has no callbacks: a transition does no I/O.
* A position is a state of the workflow, an end of the workflow, or one of the four stations of the engine below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
from transitions import Machine as TransitionsMachine
from transitions import MachineError

from orchestrator.definition.state import Back

ROLLING_BACK = "rolling_back"
ROLLED_BACK = "rolled_back"
ROLLBACK_FAILED = "rollback_failed"
FAILED = "failed"
STATIONS = (ROLLING_BACK, ROLLED_BACK, ROLLBACK_FAILED, FAILED)
"""Positions that every machine has in addition to those of its workflow."""

RETRY = "retry"
FAIL = "fail"
ROLL_BACK = "roll_back"
UNDO = "undo"
ENGINE_TRIGGERS = frozenset({RETRY, FAIL, ROLL_BACK, UNDO})
FINISH = "finish_"
"""Prefix of the moves out of ``rolling_back``; the position in which the instance ends follows."""
PUT_BACK = "put_back_"
"""Prefix of the moves out of ``failed``, which the user asks for; the state that failed follows."""


@attrs.frozen
class Move:
    """One row of the table: ``trigger`` moves an instance from ``source`` to ``target``."""

    source: str
    trigger: str
    target: str
    back: Back | None = None
    """The backward transition that the workflow declares."""
    by_engine: bool = False
    """Whether the engine added the row; the others are transitions of the workflow."""


class _Position:
    """The model of the machine: one attribute, which the machine reads and writes."""

    __slots__ = ("state",)

    def __init__(self, state: str) -> None:
        self.state = state


class Machine:
    """The machine of one workflow; iterating over it yields every row.

    Args:
        states: The states of the workflow, in their order.
        ends: The ends of the workflow.
        moves: The transitions of the workflow.
    """

    def __init__(self, states: Iterable[str], ends: Iterable[str], moves: Iterable[Move]) -> None:
        self.states = tuple(states)
        self.ends = tuple(ends)
        self._rows = (*moves, *_engine_moves(self.states, self.ends))
        self._machine = TransitionsMachine(
            model=None,
            states=[*self.states, *self.ends, *STATIONS],
            initial=self.states[0],
            transitions=[{"trigger": row.trigger, "source": row.source, "dest": row.target} for row in self],
            auto_transitions=False,
        )
        self._targets: dict[tuple[str, str], str] = {}

    def __iter__(self) -> Iterator[Move]:
        return iter(self._rows)

    def declared(self) -> Iterator[Move]:
        """The transitions of the workflow."""
        return (row for row in self if not row.by_engine)

    def fire(self, source: str, trigger: str) -> str:
        """The position to which ``trigger`` leads from ``source``.

        The result is cached: the machine never changes and has no callbacks, and firing takes a tenth of a step.

        Raises:
            MachineError: The table has no such row.
        """
        move = (source, trigger)
        if move not in self._targets:
            self._targets[move] = self._fire(source, trigger)
        return self._targets[move]

    def _fire(self, source: str, trigger: str) -> str:
        event = self._machine.events.get(trigger)
        if event is None:
            raise MachineError(f"no move is called {trigger!r}")
        position = _Position(source)
        event.trigger(position)
        return position.state


def _engine_moves(states: Iterable[str], ends: tuple[str, ...]) -> Iterator[Move]:
    """The rows that the engine adds: retry, failure, rollback, and back into a state that failed."""
    for state in states:
        yield Move(state, RETRY, state, by_engine=True)
        yield Move(state, FAIL, FAILED, by_engine=True)
        yield Move(state, ROLL_BACK, ROLLING_BACK, by_engine=True)
        yield Move(FAILED, PUT_BACK + state, state, by_engine=True)
    for position in (*ends, FAILED, ROLLBACK_FAILED, ROLLING_BACK):
        yield Move(position, ROLL_BACK, ROLLING_BACK, by_engine=True)
    yield Move(ROLLING_BACK, UNDO, ROLLING_BACK, by_engine=True)
    for position in (*ends, ROLLED_BACK, ROLLBACK_FAILED):
        yield Move(ROLLING_BACK, FINISH + position, position, by_engine=True)
