"""The machine of a workflow: its table of moves, held by one ``transitions.Machine``.

Rules of this file:

* Every move of an instance is a row of the table, and the table is checked, fired, fingerprinted and drawn from
  here alone. A move that is not a row raises and changes nothing.
* One synchronous machine per workflow, shared by all instances. No model is ever added to it (``add_model``
  scans a list and costs more than a request) and it has no callbacks: a transition does no I/O.
* Positions are the states of the workflow, its ends, and the four stations of the engine below.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from transitions import Machine as TransitionsMachine
from transitions import MachineError

ROLLING_BACK = "rolling_back"
ROLLED_BACK = "rolled_back"
ROLLBACK_FAILED = "rollback_failed"
FAILED = "failed"
STATIONS = (ROLLING_BACK, ROLLED_BACK, ROLLBACK_FAILED, FAILED)
"""Positions that every machine has beside the workflow's own."""

RETRY = "retry"
FAIL = "fail"
ROLL_BACK = "roll_back"
UNDO = "undo"
ENGINE_TRIGGERS = frozenset({RETRY, FAIL, ROLL_BACK, UNDO})
FINISH = "finish_"
"""Prefix of the moves out of ``rolling_back``: ``finish_<where the instance ends>``."""
PUT_BACK = "put_back_"
"""Prefix of the moves out of ``failed``, for the user to ask for: ``put_back_<the state that failed>``."""


@attrs.frozen
class Move:
    """One row of the table: ``trigger`` takes an instance from ``source`` to ``target``."""

    source: str
    trigger: str
    target: str
    backward: bool = False


class _Position:
    """What the machine moves: nothing but the attribute that it reads and writes."""

    __slots__ = ("state",)

    def __init__(self, state: str) -> None:
        self.state = state


def engine_moves(states: Iterable[str], ends: Iterable[str]) -> list[Move]:
    """The moves that the engine adds to those of a workflow: retry, failure, and the ways back."""
    moves = []
    for state in states:
        moves += [Move(state, RETRY, state), Move(state, FAIL, FAILED), Move(state, ROLL_BACK, ROLLING_BACK)]
        moves.append(Move(FAILED, PUT_BACK + state, state, backward=True))
    ends = tuple(ends)
    for place in (*ends, FAILED, ROLLBACK_FAILED):
        moves.append(Move(place, ROLL_BACK, ROLLING_BACK))
    moves += [Move(ROLLING_BACK, UNDO, ROLLING_BACK), Move(ROLLING_BACK, ROLL_BACK, ROLLING_BACK)]
    for place in (*ends, ROLLED_BACK, ROLLBACK_FAILED):
        moves.append(Move(ROLLING_BACK, FINISH + place, place))
    return moves


class Machine:
    """The shared machine of one workflow."""

    def __init__(self, states: Iterable[str], ends: Iterable[str], moves: Iterable[Move]) -> None:
        self.states = tuple(states)
        self.ends = tuple(ends)
        self.moves = tuple(moves)
        rows = [*self.moves, *engine_moves(self.states, self.ends)]
        self._machine = TransitionsMachine(
            model=None,
            states=[*self.states, *self.ends, *STATIONS],
            initial=self.states[0],
            transitions=[{"trigger": row.trigger, "source": row.source, "dest": row.target} for row in rows],
            auto_transitions=False,
        )
        self._fired: dict[tuple[str, str], str] = {}

    def fire(self, source: str, trigger: str) -> str:
        """Where ``trigger`` leads from ``source``.

        The machine never changes and has no callbacks, so a move that was fired once leads to the same place for
        ever: it is remembered. (Firing costs a tenth of a step.)

        Raises:
            MachineError: The table has no such row.
        """
        move = (source, trigger)
        if move not in self._fired:
            self._fired[move] = self._fire(source, trigger)
        return self._fired[move]

    def _fire(self, source: str, trigger: str) -> str:
        event = self._machine.events.get(trigger)
        if event is None:
            raise MachineError(f"no move is called {trigger!r}")
        position = _Position(source)
        event.trigger(position)
        return position.state
