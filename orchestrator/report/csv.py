"""The numbers of a run as CSV: per state, over time, and the errors. Durations in seconds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping

from orchestrator.inspection.details import Details
from orchestrator.load.latency import PERCENTILES, Latency
from orchestrator.load.series import STARTED, count_ended

_LATENCY = ["count", "min", *(f"p{percentile:g}" for percentile in PERCENTILES), "max"]

Cell = str | int | float | None


def tables(details: Details) -> Mapping[str, str]:
    """File name → CSV text."""
    return {"states.csv": _states(details), "timeline.csv": _timeline(details), "errors.csv": _errors(details)}


def _states(details: Details) -> str:
    rows: list[list[Cell]] = []
    for row in details.summary.states:
        if row.whole:
            rows.append([row.state, "whole", row.ok, row.retried, row.recovered, row.failed, *_latency(row.whole)])
        series = (("attempt", row.attempt), ("recover", row.recover))
        rows += [[row.state, what, "", "", "", "", *_latency(latency)] for what, latency in series if latency]
        if row.rollback:
            rows.append([row.state, "rollback", "", row.rollback_retried, "", row.rollback_failed, *_latency(row.rollback)])
    rows += [[name, "segment", "", "", "", "", *_latency(latency)] for name, latency in details.summary.segments]
    return _written(["state", "series", "ok", "retried", "recovered", "failed", *_LATENCY], rows)


def _timeline(details: Details) -> str:
    rows: list[list[Cell]] = []
    for window in details.summary.statistics.windows:
        ended = count_ended(window.counters)
        head: list[Cell] = [
            window.at,
            window.elapsed,
            window.width,
            int(window.warm),
            int(window.over),
            window.concurrency,
            window.active[2],
            window.wanted,
            window.offered,
            window.memory,
        ]
        head += [window.counters[STARTED], ended, sum(tally.count for tally in window.errors.values())]
        rows += [[*head, name, *_latency(latency)] for name, latency in window.latencies.items()] or [[*head, ""]]
    names = [
        "at",
        "elapsed",
        "width",
        "warm_up",
        "graceful_stop",
        "active",
        "active_max",
        "wanted",
        "offered",
        "memory_bytes",
        "started",
        "ended",
        "errors",
        "series",
    ]
    return _written([*names, *_LATENCY], rows)


def _errors(details: Details) -> str:
    rows: list[list[Cell]] = [
        [e.key.state, e.key.kind, _cell(e.key.code), e.tally.count, _cell(e.tally.example)] for e in details.summary.errors
    ]
    return _written(["state", "kind", "code", "count", "example"], rows)


def _cell(said: str) -> str:
    """Text from the server as a cell: on one line, and escaped so that a spreadsheet does not run it as a formula.

    Source: OWASP, "CSV Injection".
    """
    text = " ".join(said.split())
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _latency(latency: Latency) -> list[Cell]:
    return [latency.count, latency.min, *latency.percentiles, latency.max]


def _written(head: list[str], rows: Iterable[list[Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
