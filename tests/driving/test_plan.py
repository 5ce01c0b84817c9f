"""A plan follows from the user's request and the status of the run."""

from __future__ import annotations

import pytest

from orchestrator import RESUMABLE, RunStatus, Status
from orchestrator.driving.plan import MAY_HAVE_EFFECTS, Mode, plan_for


def test_a_new_run_admits_and_measures() -> None:
    plan = plan_for(Mode.START, RunStatus.RUNNING)
    assert (plan.admits, plan.measures, plan.drives, plan.meanwhile) == (True, True, frozenset(), RunStatus.RUNNING)


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.INTERRUPTED])
def test_an_interrupted_run_drives_interrupted_instances_first(status: RunStatus) -> None:
    plan = plan_for(Mode.RESUME, status)
    assert (plan.admits, plan.measures, plan.drives) == (True, True, RESUMABLE)


def test_a_finished_run_has_nothing_to_resume() -> None:
    plan = plan_for(Mode.RESUME, RunStatus.FINISHED)
    assert (plan.admits, plan.drives, plan.resets) == (False, frozenset(), False)


@pytest.mark.parametrize("asked", [Mode.CLEAN_UP, Mode.RESUME])
def test_a_clean_up_is_continued_as_one(asked: Mode) -> None:
    plan = plan_for(asked, RunStatus.CLEANING_UP)
    assert plan.cleans_up
    assert (plan.admits, plan.measures, plan.drives, plan.meanwhile) == (False, False, MAY_HAVE_EFFECTS, RunStatus.CLEANING_UP)


def test_a_retry_puts_failed_instances_back_once() -> None:
    asked, resumed = plan_for(Mode.RETRY, RunStatus.FINISHED), plan_for(Mode.RESUME, RunStatus.RETRYING)
    assert (asked.resets, resumed.resets) == (True, False)
    assert asked.touches == RESUMABLE | {Status.FAILED}
    assert resumed.touches == RESUMABLE
    for plan in (asked, resumed):
        assert (plan.admits, plan.measures, plan.meanwhile) == (False, False, RunStatus.RETRYING)


def test_a_rollback_of_one_instance_resets_it_once_and_then_drives_nothing_else() -> None:
    asked, resumed = plan_for(Mode.ROLL_BACK, RunStatus.FINISHED), plan_for(Mode.RESUME, RunStatus.ROLLING_BACK)
    assert (asked.resets, resumed.resets) == (True, False)
    for plan in (asked, resumed):
        assert plan.drives == plan.touches == RESUMABLE
        assert (plan.admits, plan.measures, plan.cleans_up, plan.meanwhile) == (False, False, False, RunStatus.ROLLING_BACK)
