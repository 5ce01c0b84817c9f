"""A run, or two runs side by side, as one HTML file that loads nothing else. The charts are drawn by uPlot, which it contains.

Source: uPlot 1.6.32 (https://github.com/leeoniya/uPlot), MIT.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.inspection.details import Details
from orchestrator.inspection.rows import move_counts
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.instance import Status
from orchestrator.load.series import LATE, is_work
from orchestrator.report.charts import CURVE, chart_data, curve, main_of
from orchestrator.report.comparison import Comparison
from orchestrator.report.machine_svg import machine_svg
from orchestrator.report.templates import render, script_data
from orchestrator.report.text import counted, measuring_notes, milliseconds
from orchestrator.report.verdict import VERDICTS, exit_code

INSTANCES_SHOWN = 100
ERRORS_SHOWN = 20


def page(details: Details) -> str:
    """The report of a run."""
    summary = details.summary
    good, verdict = VERDICTS[exit_code(summary)]
    return render(
        "run.html",
        title=f"{summary.workflow} {summary.run_id}",
        data=script_data(chart_data(details)),
        details=details,
        good=good,
        verdict=verdict,
        counted=counted(summary),
        notes=list(measuring_notes(summary)),
        tiles=list(_tiles(details)),
        widest=max((row.ok for row in summary.states), default=0) or 1,
        machine=machine_svg(
            details.workflow,
            move_counts(details.workflow, summary.statistics),
            {row.state: row.failed for row in summary.states},
            details.here,
        ),
        errors_shown=ERRORS_SHOWN,
        instances_shown=INSTANCES_SHOWN,
    )


def comparison_page(comparison: Comparison) -> str:
    """Two runs side by side."""
    data = comparison_data(comparison)
    return render("comparison.html", title=" and ".join(data["runs"]), data=script_data(data), comparison=comparison)


def comparison_data(comparison: Comparison) -> JSONObject:
    """The data that the charts of a comparison draw."""
    first, second = comparison.first, comparison.second
    curves = {name: [curve(details.summary.statistics, name) for details in (first, second)] for name, _ in comparison.latencies}
    runs = [details.summary.run_id for details in (first, second)]
    return {"curves": curves, "percentiles": CURVE, "runs": runs, "main": main_of(first.workflow, list(curves))}


def _tiles(details: Details) -> Iterator[tuple[str, str]]:
    """Label and value of the numbers at the top."""
    summary = details.summary
    yield "instances started", f"{summary.admitted:,}"
    yield "completed", f"{summary.counts.get(Status.COMPLETED, 0):,}"
    yield "did not complete", f"{details.failures:,}"
    if summary.scenario.is_open:
        yield "started late", f"{summary.statistics.total.counters[LATE]:,}"
        yield "missed", f"{summary.missed:,}"
    for name, latency in summary.segments:
        if is_work(name):
            yield f"{name.replace('_', ' ')} p95", f"{milliseconds(latency.at(95))} ms"
            yield f"{name.replace('_', ' ')}s", f"{summary.statistics.rate(name):.1f}/s" if summary.statistics.seconds else ""
    yield "errors met", f"{sum(row.tally.count for row in summary.errors):,}"
