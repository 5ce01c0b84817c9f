"""The data of the charts of a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.inspection.details import Details, main_series
from orchestrator.inspection.rows import segment_rows
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.duration import show_duration
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.series import STARTED, count_ended, rounds_done
from orchestrator.load.statistics import Statistics
from orchestrator.load.window import Window

CURVE = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0)
"""Percentiles of the curve."""


def chart_data(details: Details) -> JSONObject:
    """The series of all charts of a run, over time and by percentile."""
    summary, statistics = details.summary, details.summary.statistics
    names = latencies_of(details.workflow, statistics)
    return over_time(details.workflow, summary.scenario, statistics) | {
        "latency": {name: latency_over_time(statistics, name) for name in names},
        "curves": {name: curve(statistics, name) for name in names},
        "percentiles": CURVE,
        "main": main_of(details.workflow, names),
    }


def over_time(workflow: AnyWorkflow, scenario: Scenario, statistics: Statistics) -> JSONObject:
    """Everything over time except latencies, with the marks on the time axis."""
    windows = _wide(statistics)
    goes_round = workflow.round_end is not None and scenario.rounds != 1
    rounds = [_number(window.rate(*rounds_done(workflow))) for window in windows] if goes_round else None
    return {
        "t": [_number(window.elapsed + window.width / 2) for window in windows],
        "due": [_number(_due(scenario, window)) for window in windows] if scenario.is_open else None,
        "started": [_number(window.rate(STARTED)) for window in windows],
        "ended": [_number(count_ended(window.counters) / window.width) for window in windows],
        "rounds": rounds,
        "active": [_number(window.concurrency) for window in windows],
        "active_max": [window.active[2] for window in windows],
        "wanted": None if scenario.is_open else [_number(window.wanted) for window in windows],
        "offered": None if rounds is None else [_number(window.offered) for window in windows],
        "errors": [_number(sum(t.count for t in window.errors.values()) / window.width) for window in windows],
        "memory": [_number(window.memory / 1e6) for window in windows],
        "marks": _marks(scenario, statistics),
    }


def latency_over_time(statistics: Statistics, name: str) -> list[list[float | None]]:
    """p50, p95 and p99 of a series in each window, in milliseconds."""
    windows = _wide(statistics)
    return [_series(windows, name, p) for p in (50, 95, 99)]


def _due(scenario: Scenario, window: Window) -> float:
    """Arrivals that came due in a window, per second."""
    end = window.elapsed + window.width
    return (scenario.arrivals(end, 0).due - scenario.arrivals(window.elapsed, 0).due) / window.width


def _wide(statistics: Statistics) -> list[Window]:
    return [window for window in statistics.windows if window.width > 0]


def _marks(scenario: Scenario, statistics: Statistics) -> list[tuple[float, str]]:
    """Interruptions, the end of the warm-up, changes, and the end of the scenario: seconds and label."""
    marks = [(at, f"interrupted {show_duration(round(idle))}") for at, idle in statistics.gaps]
    if scenario.warm_up:
        marks.append((scenario.warm_up, "end of warm-up"))
    unit = "/s" if scenario.is_open else " at once"
    marks += [(change.at, f"{change.value:g}{unit}") for change in scenario.changes]
    return marks + [(window.elapsed, "graceful stop") for window in _wide(statistics) if window.over][:1]


def latencies_of(workflow: AnyWorkflow, statistics: Statistics) -> list[str]:
    """The latencies that a chart can show: segments and waits, then states."""
    measured = statistics.total.histograms
    states = [state.name for state in workflow.states if state.name in measured and measured[state.name].total]
    return [*(name for name, _ in segment_rows(workflow, statistics)), *states]


def main_of(workflow: AnyWorkflow, names: Sequence[str]) -> str:
    """The series that a chart opens on."""
    main = main_series(workflow)
    return main if main in names else next(iter(names), "")


def _series(windows: Iterable[Window], name: str, percentile: float) -> list[float | None]:
    found = (window.latencies.get(name) for window in windows)
    return [_number(latency.at(percentile) * 1000) if latency else None for latency in found]


def curve(statistics: Statistics, name: str) -> list[float | None]:
    """A series by percentile, in milliseconds."""
    histogram = statistics.total.histograms.get(name)
    if histogram is None or not histogram.total:
        return [None] * len(CURVE)
    return [_number(min(value, histogram.max) / 1000) for value in histogram.values_at(CURVE)]


def _number(value: float) -> float:
    return float(f"{value:.5g}")
