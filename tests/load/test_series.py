"""Keys of measurements: built and parsed in one module, and unique."""

from __future__ import annotations

from collections import Counter

from orchestrator import Status
from orchestrator.load import series
from states.token_fulfillment import WORKFLOW


def test_no_two_counters_share_a_key() -> None:
    names = [state.name for state in WORKFLOW.states]
    keys = [*series.OF_RUN]
    for name in names:
        keys += [series.moved(name, outcome) for outcome in WORKFLOW.state_named[name].outcomes]
        for rollback in (False, True):
            keys += [count(name, rollback=rollback) for count in (series.retried, series.failed, series.cut_off)]
        keys.append(series.recovered(name))
    assert len(set(keys)) == len(keys)


def test_every_series_of_a_workflow_is_told_apart() -> None:
    names = series.all_series(WORKFLOW)
    assert len(set(names)) == len(names)
    assert {name for name in names if series.is_call(name)} == {
        series.call(state.name, handler) for state in WORKFLOW.states for handler in ("run", "recover", "rollback")
    }
    assert {name for name in names if not series.is_work(name)} == {series.START_LAG, *series.waits_of(WORKFLOW)}


def test_instances_are_counted_by_the_status_with_which_they_ended() -> None:
    counters = Counter({series.ended("completed"): 3, series.ended("rolled_back"): 2, series.STARTED: 9})
    counts = series.counts_by_status(counters)
    assert (counts[Status.COMPLETED], counts[Status.ROLLED_BACK], counts[Status.FAILED]) == (3, 2, 0)
    assert series.count_ended(counters) == 5
