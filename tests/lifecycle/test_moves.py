"""Moves of an instance: what it knows of effects in doubt, rounds, and the end that a rollback leads to."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from orchestrator import Effect, Instance, NextRound, Status
from orchestrator.lifecycle import moves
from orchestrator.lifecycle.instance import Failure, Leftover
from tests.support.toy import Ledger, Making, One, ToyContext, toy

NOW = 1_000_000.0
FAILURE = Failure(kind="permanent", message="no", state="one", attempt=1)


class Two(Making):
    outcomes = frozenset({"done", "again"})
    transitions = {"done": "completed", "again": NextRound("two")}


WORKFLOW = toy(Ledger(), One(), Two())


def standing(**more: Any) -> Instance[ToyContext]:
    """An instance of the first state, with these changes."""
    return attrs.evolve(moves.admit(WORKFLOW, "261123-000000", 0, ToyContext(), NOW), **more)


@pytest.mark.parametrize(
    ("instance", "more", "in_doubt"),
    [
        (standing(), {}, True),  # a process was killed in this state: its request may be out
        (standing(), {"failure": FAILURE}, False),
        (standing(), {"failure": FAILURE, "doubt": True}, True),
        (standing(status=Status.SUSPENDED), {}, False),
        (standing(status=Status.SUSPENDED, doubt=True), {}, True),
        (standing(status=Status.FAILED, failure=FAILURE), {}, False),
    ],
    ids=["running", "failed for good", "failed in doubt", "suspended", "suspended in doubt", "kept"],
)
def test_a_rollback_knows_whether_its_last_state_may_have_run(instance: Any, more: Any, in_doubt: bool) -> None:
    rolling = moves.roll_back(WORKFLOW, instance, NOW, **more)
    assert rolling.may_have_run == (("one",) if in_doubt else ())
    assert rolling.trail == ("one",)
    assert rolling.status is Status.ROLLING_BACK


def test_each_round_counts_once_and_the_last_one_too() -> None:
    first = moves.advance(WORKFLOW, standing(), "done", ToyContext(), NOW)
    second = moves.advance(WORKFLOW, first, "again", ToyContext(), NOW, pause=3.0)
    ended = moves.advance(WORKFLOW, second, "done", ToyContext(), NOW)
    assert [each.rounds for each in (first, second, ended)] == [0, 1, 2]
    assert (second.not_before, ended.status) == (NOW + 3.0, Status.COMPLETED)


def test_a_rollback_that_left_something_remembers_the_end_it_was_for() -> None:
    completed = standing(status=Status.COMPLETED, position="completed", trail=("one",))
    rolling = moves.roll_back(WORKFLOW, completed, NOW)
    left = moves.undone(
        WORKFLOW, rolling, NOW, leftover=Leftover(state="one", effect=Effect(kind="thing", name="one:0"), error="no")
    )
    failed = moves.finish(WORKFLOW, left, NOW)
    assert (failed.status, failed.final_status) == (Status.ROLLBACK_FAILED, Status.COMPLETED)
    again = moves.undone(WORKFLOW, moves.roll_back(WORKFLOW, failed, NOW), NOW)
    done = moves.finish(WORKFLOW, again, NOW)
    assert (done.status, done.final_status, done.position) == (Status.COMPLETED, None, "completed")


def test_a_retry_waits_from_now_and_a_resumed_one_for_the_rest() -> None:
    waiting = moves.retry(WORKFLOW, standing(), FAILURE, doubt=False, wait=7.0, now=NOW)
    assert (waiting.not_before, waiting.failures) == (NOW + 7.0, 1)
    suspended = moves.suspend(waiting, doubt=False, now=NOW + 1)
    assert moves.resume(suspended, NOW + 2).not_before == NOW + 7.0
    undoing = moves.retry(WORKFLOW, moves.roll_back(WORKFLOW, standing(), NOW), FAILURE, doubt=False, wait=7.0, now=NOW)
    assert (undoing.not_before, undoing.rollback_failure, undoing.failure) == (NOW + 7.0, FAILURE, None)
