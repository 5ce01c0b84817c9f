"""Keys of everything that a run measures: series of latencies, and counters. No other module builds or parses them.

The series of a state or of a segment is its name. The store keeps keys as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import NewType

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.lifecycle.instance import Status

Series = NewType("Series", str)
"""Key of a series of latencies."""
Counted = NewType("Counted", str)
"""Key of a counter."""

INSTANCE = Series("instance")
"""Latency of a whole instance."""
ROUND = Series("round")
"""Latency of a round."""
START_LAG = Series("start_lag")
"""By how much arrivals started late."""

STARTED = Counted("started")
LATE = Counted("late")
"""Arrivals that started late."""
ERRORS = Counted("errors")
"""Failed calls of handlers."""
ABORTED = Counted("aborted")
"""Scenarios that a broken threshold has ended."""
REPLACED = Counted("replaced")
"""Instances that took the slot of one that had failed."""
HELD_BACK = Counted("held_back")
"""Those of them that had to wait, because several in a row had failed in that slot."""
MISSED = Counted("missed")
"""Arrivals that were due and had not started when a broken threshold ended the scenario."""
ROUND_DONE = Counted("round.done")
ROUND_FAILED = Counted("round.failed")

_WAIT = "wait."
_ENDED = "ended."
_CALLS = {"run": "attempt", "recover": "recover", "rollback": "rollback"}
"""Handler → suffix of the series of its calls."""


def wait(group: str) -> Series:
    """Waits for a rate group."""
    return Series(_WAIT + group)


@cache
def call(state: str, handler: str) -> Series:
    """Calls of one handler of a state."""
    return Series(f"{state}.{_CALLS[handler]}")


def is_call(series: str) -> bool:
    """Whether the series times the calls of a handler."""
    return series.rpartition(".")[2] in _CALLS.values()


def is_work(series: str) -> bool:
    """Whether the series times work, and not a wait before it."""
    return series != START_LAG and not series.startswith(_WAIT)


def waits_of(workflow: AnyWorkflow) -> list[Series]:
    """The waits for the rate groups of a workflow."""
    return sorted({wait(state.rate_group) for state in workflow.states if state.rate_group})


def all_series(workflow: AnyWorkflow) -> list[str]:
    """Every series of a workflow."""
    states = [state.name for state in workflow.states]
    calls = [call(name, handler) for name in states for handler in _CALLS]
    rounds = [ROUND] if workflow.round_start is not None else []
    segments = [segment.name for segment in workflow.segments]
    return [*states, *segments, *rounds, INSTANCE, START_LAG, *waits_of(workflow), *calls]


@cache
def moved(state: str, outcome: str) -> Counted:
    """Transitions of a state with this outcome."""
    return Counted(f"{state}.moved.{outcome}")


def recovered(state: str) -> Counted:
    """Effects that ``recover`` found."""
    return Counted(f"{state}.recovered")


def retried(state: str, *, rollback: bool = False) -> Counted:
    """Failed attempts that another attempt followed."""
    return Counted(f"{state}.rollback.retried" if rollback else f"{state}.retried")


def failed(state: str, *, rollback: bool = False) -> Counted:
    """Attempts that failed permanently."""
    return Counted(f"{state}.rollback.failed" if rollback else f"{state}.failed")


def cut_off(state: str, *, rollback: bool = False) -> Counted:
    """Instances that failed in a state without a failed call: cut off, or with a context that cannot be stored."""
    return Counted(f"{state}.rollback.cut_off" if rollback else f"{state}.cut_off")


def share(subject: str, kind: str) -> Counted:
    """The counter behind a threshold like ``create_user.failed < 1%`` or ``round.failed < 1%``."""
    return {"failed": failed, "retried": retried}[kind](subject)


@cache
def ended(status: str) -> Counted:
    """Instances that ended with this status."""
    return Counted(_ENDED + status)


def counts_by_status(counters: Mapping[str, int]) -> dict[Status, int]:
    """How many instances ended with each status."""
    return {status: counters.get(ended(status.value), 0) for status in Status}


def count_ended(counters: Mapping[str, int]) -> int:
    """How many instances ended."""
    return sum(counts_by_status(counters).values())


def rounds_done(workflow: AnyWorkflow) -> Iterable[Counted]:
    """The transitions that end a round; none if the workflow has no rounds."""
    if workflow.round_end is None or workflow.round_outcome is None:
        return ()
    return moved(workflow.round_end, workflow.round_outcome), moved(workflow.round_end, "done")


OF_RUN = frozenset({STARTED, LATE, ERRORS, ABORTED, MISSED, REPLACED, HELD_BACK, ROUND_DONE, ROUND_FAILED, *map(ended, Status)})
"""Counters of a run as a whole; the others belong to a state."""
