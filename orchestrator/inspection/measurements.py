"""The measurements of a run, judged: its rows, its missed arrivals, and the verdicts of its thresholds. Decodes no instance."""

from __future__ import annotations

import attrs

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.inspection.result import RunResult
from orchestrator.inspection.rows import ErrorRow, StateRow, error_rows, segment_rows, state_rows
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.latency import Latency
from orchestrator.load.series import ABORTED, MISSED
from orchestrator.load.statistics import Statistics
from orchestrator.load.threshold_parser import parse_all
from orchestrator.load.thresholds import Measured, Verdict


@attrs.frozen(kw_only=True)
class Measurements:
    """The statistics of a run with everything that follows from them."""

    statistics: Statistics
    missed: int
    """Arrivals of an open scenario that never started."""
    aborted: bool
    """Whether a broken threshold ended the scenario early."""
    verdicts: tuple[Verdict, ...]
    states: tuple[StateRow, ...]
    segments: tuple[tuple[str, Latency], ...]
    errors: tuple[ErrorRow, ...]


def measure(workflow: AnyWorkflow, record: RunRecord, result: RunResult, statistics: Statistics) -> Measurements:
    """Judge the statistics of a run.

    Args:
        result: Its instances by status, of the same moment.
    """
    missed = _missed(record.scenario, statistics, result)
    due = missed + sum(number for status, number in result.counts.items() if status is not Status.PENDING)
    measured = Measured(statistics=statistics, counts=result.counts, missed=missed, overdue=missed, due=due)
    return Measurements(
        statistics=statistics,
        missed=missed,
        aborted=bool(statistics.total.counters[ABORTED]),
        verdicts=tuple(threshold.judge(measured) for threshold in parse_all(record.thresholds, workflow)),
        states=tuple(state_rows(workflow, statistics)),
        segments=tuple(segment_rows(workflow, statistics)),
        errors=tuple(error_rows(statistics)),
    )


def _missed(scenario: Scenario, statistics: Statistics, result: RunResult) -> int:
    """Arrivals that never started, or are overdue in a run that is not finished."""
    if not scenario.is_open:
        return 0
    if statistics.total.counters[ABORTED]:
        return statistics.total.counters[MISSED]
    pending = result.counts.get(Status.PENDING, 0)
    return scenario.arrivals(statistics.elapsed, result.total - pending).overdue if result.interrupted else pending
