"""The measurements of a run as rows: one for each state, span and kind of error. Every form of report shows these."""

from __future__ import annotations

from typing import Any

import attrs

from orchestrator.definition.workflow import Workflow
from orchestrator.load.statistics import INSTANCE, ROUND, START_LAG, WAIT, ErrorKey, ErrorTally, Latency, Statistics


@attrs.frozen(kw_only=True)
class StateRow:
    """What was measured of one state."""

    state: str
    ok: int
    """How often it ended with an outcome."""
    retried: int
    recovered: int
    """How often its effect was found and adopted."""
    failed: int
    """How often it could not go on."""
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
    """Errors that are counted together, with one of them."""

    key: ErrorKey
    tally: ErrorTally


def state_rows(workflow: Workflow[Any, Any], statistics: Statistics) -> list[StateRow]:
    """One row for each state, in the order of the definition."""
    counters = statistics.total.counters
    rows = []
    for state in workflow.states:
        name = state.name
        rows.append(
            StateRow(
                state=name,
                ok=sum(counters[f"{name}.moved.{outcome}"] for outcome in state.outcomes),
                retried=counters[f"{name}.retried"],
                recovered=counters[f"{name}.recovered"],
                failed=counters[f"{name}.failed"] + counters[f"{name}.cut_off"],
                rollback_retried=counters[f"{name}.rollback.retried"],
                rollback_failed=counters[f"{name}.rollback.failed"],
                whole=statistics.latency(name),
                attempt=statistics.latency(f"{name}.attempt"),
                recover=statistics.latency(f"{name}.recover"),
                rollback=statistics.latency(f"{name}.rollback"),
            )
        )
    return rows


def span_rows(workflow: Workflow[Any, Any], statistics: Statistics) -> list[tuple[str, Latency]]:
    """The spans of the workflow, its rounds, the whole instance, the start lag of arrivals and the waits for rates, where measured."""
    groups = sorted({WAIT + state.rate_group for state in workflow.states if state.rate_group})
    names = [*(span.name for span in workflow.segments), ROUND, INSTANCE, START_LAG, *groups]
    return [(name, latency) for name in names if (latency := statistics.latency(name)) is not None]


def error_rows(statistics: Statistics) -> list[ErrorRow]:
    """The most frequent first."""
    rows = [ErrorRow(key, tally) for key, tally in statistics.total.errors.items()]
    return sorted(rows, key=lambda row: (-row.tally.count, row.key))


def move_counts(workflow: Workflow[Any, Any], statistics: Statistics) -> dict[tuple[str, str], int]:
    """(state, outcome) → how often that transition was taken."""
    counters = statistics.total.counters
    return {(s.name, outcome): counters[f"{s.name}.moved.{outcome}"] for s in workflow.states for outcome in s.transitions}
