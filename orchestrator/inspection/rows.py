"""The measurements of a run as rows of a report: one for each state, segment and kind of error."""

from __future__ import annotations

import attrs

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.load import series
from orchestrator.load.latency import Latency
from orchestrator.load.series import INSTANCE, ROUND, START_LAG
from orchestrator.load.statistics import Statistics
from orchestrator.load.window import ErrorKey, ErrorTally


@attrs.frozen(kw_only=True)
class StateRow:
    """The measurements of one state."""

    state: str
    ok: int
    """How often it ended with an outcome."""
    retried: int
    recovered: int
    """How often recovery found its effect and adopted it."""
    failed: int
    """How often it failed for good."""
    rollback_retried: int
    rollback_failed: int
    """How often it could not be rolled back."""
    whole: Latency | None
    """From when it was due to its outcome, retries and waits included."""
    attempt: Latency | None
    """One call of ``run``."""
    recover: Latency | None
    rollback: Latency | None


@attrs.frozen
class ErrorRow:
    """Errors of one kind: their number, and an example."""

    key: ErrorKey
    tally: ErrorTally


def state_rows(workflow: AnyWorkflow, statistics: Statistics) -> list[StateRow]:
    """One row for each state, in the order of the definition."""
    counters = statistics.total.counters
    rows = []
    for state in workflow.states:
        name = state.name
        rows.append(
            StateRow(
                state=name,
                ok=sum(counters[series.moved(name, outcome)] for outcome in state.outcomes),
                retried=counters[series.retried(name)],
                recovered=counters[series.recovered(name)],
                failed=counters[series.failed(name)] + counters[series.cut_off(name)],
                rollback_retried=counters[series.retried(name, rollback=True)],
                rollback_failed=counters[series.failed(name, rollback=True)],
                whole=statistics.latency(name),
                attempt=statistics.latency(series.call(name, "run")),
                recover=statistics.latency(series.call(name, "recover")),
                rollback=statistics.latency(series.call(name, "rollback")),
            )
        )
    return rows


def segment_rows(workflow: AnyWorkflow, statistics: Statistics) -> list[tuple[str, Latency]]:
    """The latencies that were measured beside the states: segments, rounds, whole instances, start lag, and waits for rate limits."""
    names = [*(segment.name for segment in workflow.segments), ROUND, INSTANCE, START_LAG, *series.waits_of(workflow)]
    return [(name, latency) for name in names if (latency := statistics.latency(name)) is not None]


def error_rows(statistics: Statistics) -> list[ErrorRow]:
    """The most frequent first."""
    rows = [ErrorRow(key, tally) for key, tally in statistics.total.errors.items()]
    return sorted(rows, key=lambda row: (-row.tally.count, row.key))


def move_counts(workflow: AnyWorkflow, statistics: Statistics) -> dict[tuple[str, str], int]:
    """(state, outcome) → how often that transition was taken."""
    counters = statistics.total.counters
    return {(s.name, outcome): counters[series.moved(s.name, outcome)] for s in workflow.states for outcome in s.transitions}
