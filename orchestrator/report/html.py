"""A run, or two of them side by side, as one HTML file that needs nothing else: charts by uPlot, which is inside.

Source: uPlot 1.6.32 (https://github.com/leeoniya/uPlot), MIT.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from html import escape
from importlib.resources import files
from typing import Any

import orjson

from orchestrator.inspection.details import Details, main_series
from orchestrator.inspection.rows import StateRow, move_counts
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.scenario import show_duration
from orchestrator.load.statistics import START_LAG, WAIT, Latency, Statistics, Window
from orchestrator.report.comparison import Change, Comparison
from orchestrator.report.machine_svg import machine_svg
from orchestrator.report.text import counted, measuring_notes, milliseconds
from orchestrator.report.verdict import VERDICTS, exit_code

CURVE = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 100.0)
"""Percentiles of the curve."""
INSTANCES_SHOWN = 100
ERRORS_SHOWN = 20


def page(details: Details) -> str:
    """The report of a run."""
    summary = details.summary
    good, verdict = VERDICTS[exit_code(summary)]
    body = [
        f"<h1>{escape(summary.workflow)} <span class='faint'>{escape(summary.run_id)}</span></h1>",
        f"<p><span class='badge {'good' if good else 'bad'}'>{verdict}</span> {escape(counted(summary))}</p>",
        (
            f"<p class='faint'>{escape(summary.scenario.describe())} · started {_when(details.record.created_at)} · "
            f"duration {show_duration(round(summary.statistics.elapsed, 1))}</p>"
        ),
        _verdicts(details),
        _gaps(summary.statistics),
        *(f"<p class='faint'>{escape(note)}.</p>" for note in measuring_notes(summary)),
        _tiles(details),
        _charts(details),
        "<h2>States</h2>",
        "<p class='faint'>Milliseconds, of the whole state: from when it was due to its outcome, retries and waits included.</p>",
        _states(summary.states),
        "<h2>Spans and waits</h2>" + _spans(details) if summary.segments else "",
        _errors(details),
        "<h2>Where instances stand</h2>",
        _funnel(details),
        "<h2>The machine</h2><p class='faint'>How often each transition was taken. Pale: never; the warm-up is not counted.</p>",
        machine_svg(
            details.workflow,
            move_counts(details.workflow, summary.statistics),
            {row.state: row.failed for row in summary.states},
            details.here,
        ),
        _failed(details),
    ]
    return _document(f"{summary.workflow} {summary.run_id}", body, _data(details))


def comparison_page(comparison: Comparison) -> str:
    """Two runs side by side."""
    first, second = comparison.first, comparison.second
    heads = "".join(f"<th>{escape(details.summary.run_id).replace('-', '-<wbr>')}</th>" for details in (first, second))
    rows = "".join(f"<tr><td>{escape(c.what)}</td>{_change(c)}</tr>" for c in comparison.numbers)
    states = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(_change(change, of=change.what) for change in changes)}</tr>"
        for name, changes in comparison.latencies
    )
    groups = "".join(f"<th colspan='3'>{name}</th>" for name in ("p50", "p95", "p99"))
    body = [
        f"<h1>{escape(first.summary.workflow)}: two runs</h1>",
        *(
            f"<p><b>{escape(p.summary.run_id)}</b> <span class='faint'>{escape(p.summary.scenario.describe())}, started "
            f"{_when(p.record.created_at)}</span></p>"
            for p in (first, second)
        ),
        f"<div class='scroll'><table class='numbers'><tr><th></th>{heads}<th>change</th></tr>{rows}</table></div>",
        (
            "<h2>Percentiles</h2><div class='charts'><div class='chart'><h3>Latency by percentile <select id='curve-of'></select></h3>"
            "<div id='curve'></div></div></div>"
        ),
        "<h2>States and spans</h2><p class='faint'>Milliseconds: first run, second run, change.</p>",
        f"<div class='scroll'><table class='changes'><tr><th></th>{groups}</tr>{states}</table></div>",
    ]
    curves = {
        name: [_curve(one.summary.statistics, name), _curve(two.summary.statistics, name)]
        for one, two in [(first, second)]
        for name, _ in comparison.latencies
    }
    runs = [details.summary.run_id for details in (first, second)]
    data = {"curves": curves, "percentiles": CURVE, "runs": runs, "main": _main(first, list(curves))}
    return _document(" and ".join(runs), body, data)


def _document(title: str, body: Iterable[str], data: Any) -> str:
    # In a script element only "</" could end the data early.
    text = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode().replace("</", "<\\/")
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<style>{_asset('uplot.css')}\n{_asset('report.css')}</style></head>\n<body>\n{''.join(body)}\n"
        f"<script type='application/json' id='data'>{text}</script>\n<script>{_asset('uplot.js')}</script>\n"
        f"<script>{_asset('report.js')}</script>\n</body></html>\n"
    )


@lru_cache
def _asset(name: str) -> str:
    return (files("orchestrator.report") / "assets" / name).read_text("utf-8")


def _when(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _verdicts(details: Details) -> str:
    items = []
    for verdict in sorted(details.summary.verdicts, key=lambda one: one.holds):
        style, mark = ("good", "✓") if verdict.holds else ("bad", "✗")
        items.append(f"<li class='{style}'>{mark} <b>{escape(verdict.text)}</b>: {escape(verdict.found)}</li>")
    return f"<ul class='verdicts'>{''.join(items)}</ul>" if items else ""


def _gaps(statistics: Statistics) -> str:
    told = [
        f"interrupted for {show_duration(round(idle, 1))} after {show_duration(round(at, 1))}" for at, idle in statistics.gaps
    ]
    return f"<p class='faint'>The run was {'; '.join(told)}. The time axis leaves that out.</p>" if told else ""


def _tiles(details: Details) -> str:
    summary = details.summary
    tiles = [
        ("instances started", f"{summary.admitted:,}"),
        ("completed", f"{summary.counts.get(Status.COMPLETED, 0):,}"),
        ("did not complete", f"{details.failures:,}"),
    ]
    if summary.scenario.is_open:
        tiles += [("started late", f"{summary.statistics.total.counters['late']:,}"), ("missed", f"{summary.missed:,}")]
    for name, latency in summary.segments:
        if name != START_LAG and not name.startswith(WAIT):
            rate = f"{summary.statistics.rate(name):.1f}/s" if summary.statistics.seconds else ""
            tiles.append((f"{name.replace('_', ' ')} p95", f"{milliseconds(latency.at(95))} ms"))
            tiles.append((f"{name.replace('_', ' ')}s", rate))
    tiles.append(("errors met", f"{sum(row.tally.count for row in summary.errors):,}"))
    shown = "".join(f"<div class='tile'><b>{escape(value)}</b><span>{escape(label)}</span></div>" for label, value in tiles)
    return f"<div class='tiles'>{shown}</div>"


def _charts(details: Details) -> str:
    def chart(name: str, title: str, select: str = "") -> str:
        chosen = f" <select id='{select}' aria-label='of what'></select>" if select else ""
        return f"<div class='chart'><h3>{title}{chosen}</h3><div id='{name}'></div></div>"

    charts = [
        chart("throughput", "Throughput"),
        chart("concurrency", "Concurrency"),
        chart("latency", "Latency over time", "latency-of"),
        chart("curve", "Latency by percentile", "curve-of"),
        *([chart("errors", "Errors")] if details.summary.errors else []),
        chart("memory", "Memory of this program"),
    ]
    return f"<div class='charts'>{''.join(charts)}</div>"


_LATENCY_HEAD = "".join(f"<th>{name}</th>" for name in ("min", "p50", "p90", "p95", "p99", "p99.9", "max"))


def _cells(latency: Latency | None) -> str:
    if latency is None:
        return "<td></td>" * 7
    return "".join(f"<td>{milliseconds(value)}</td>" for value in (latency.min, *latency.percentiles, latency.max))


def _states(rows: Sequence[StateRow]) -> str:
    shown = []
    for row in rows:
        numbers = "".join(f"<td>{n or ''}</td>" for n in (row.ok, row.retried, row.recovered, row.failed))
        shown.append(f"<tr><td>{escape(row.state)}</td>{numbers}{_cells(row.whole)}</tr>")
        for what, latency in (("one call", row.attempt), ("recover", row.recover), ("rollback", row.rollback)):
            # One call says the same as the whole where nothing was retried; only what differs is shown.
            if latency is not None and (what != "one call" or row.retried or row.recovered):
                undo = what == "rollback"
                retried, failed = (row.rollback_retried or "", row.rollback_failed or "") if undo else ("", "")
                cells = f"<td>{latency.count}</td><td>{retried}</td><td></td><td>{failed}</td>{_cells(latency)}"
                shown.append(f"<tr class='faint'><td>&nbsp;&nbsp;{what}</td>{cells}</tr>")
    head = "<th></th><th>ok</th><th>retried</th><th>recovered</th><th>failed</th>" + _LATENCY_HEAD
    return f"<div class='scroll'><table><tr>{head}</tr>{''.join(shown)}</table></div>"


def _spans(details: Details) -> str:
    rows = "".join(f"<tr><td>{escape(n)}</td><td>{one.count}</td>{_cells(one)}</tr>" for n, one in details.summary.segments)
    return f"<div class='scroll'><table><tr><th></th><th>count</th>{_LATENCY_HEAD}</tr>{rows}</table></div>"


def _errors(details: Details) -> str:
    if not details.summary.errors:
        return ""
    rows = "".join(
        f"<tr><td>{escape(e.key.state)}</td><td>{escape(e.key.kind)}</td><td>{escape(e.key.code)}</td><td>{e.tally.count}</td>"
        f"<td class='text'>{escape(e.tally.example)}</td></tr>"
        for e in details.summary.errors[:ERRORS_SHOWN]
    )
    more = len(details.summary.errors) - ERRORS_SHOWN
    note = f"<p class='faint'>{more} rarer kinds are not shown here.</p>" if more > 0 else ""
    head = "<th>state</th><th>kind</th><th>code</th><th>count</th><th class='text'>one of them</th>"
    return f"<h2>Errors</h2><div class='scroll'><table><tr>{head}</tr>{rows}</table></div>{note}"


def _funnel(details: Details) -> str:
    """How many completed each state, for the first time or again; which instances stand there now, and for how long."""
    widest = max((row.ok for row in details.summary.states), default=0) or 1
    rows = []
    for row in details.summary.states:
        oldest = details.oldest.get(row.state)
        waits = f"{show_duration(round(oldest[1], 1))} ({escape(oldest[0])})" if oldest else ""
        bar = f"<span class='bar' style='width:{100 * row.ok / widest:.1f}%'></span>" if row.ok else ""
        here = details.here.get(row.state, 0)
        rows.append(
            f"<tr><td>{escape(row.state)}</td><td>{bar}</td><td>{row.ok:,}</td><td>{here or ''}</td><td>{waits}</td></tr>"
        )
    head = "<th></th><th></th><th>completed</th><th>here now</th><th>longest here</th>"
    return f"<div class='scroll'><table class='funnel'><tr>{head}</tr>{''.join(rows)}</table></div>"


def _failed(details: Details) -> str:
    if not details.failed:
        return ""
    rows = "".join(
        f"<tr><td>{escape(instance)}</td><td>{status.value}</td><td>{escape(failure.state)}</td>"
        f"<td class='text'>{escape(failure.message)}</td></tr>"
        for instance, status, failure in details.failed[:INSTANCES_SHOWN]
    )
    more = details.failures - INSTANCES_SHOWN
    note = f"<p class='faint'>{more} more are not shown here.</p>" if more > 0 else ""
    head = "<th>instance</th><th>status</th><th>state</th><th class='text'>why</th>"
    return f"<h2>Instances that failed</h2><div class='scroll'><table><tr>{head}</tr>{rows}</table></div>{note}"


def _change(change: Change, *, of: str = "") -> str:
    """Three cells; on a phone the first one also says of which percentile they are."""
    style = "" if change.better is None else "better" if change.better else "worse"
    named = f" data-of='{escape(of)}'" if of else ""
    return (
        f"<td{named}><span>{escape(change.before)}</span></td><td>{escape(change.after)}</td>"
        f"<td class='{style}'>{escape(change.change) or '&nbsp;'}</td>"
    )


def _data(details: Details) -> dict[str, Any]:
    statistics = details.summary.statistics
    windows = [window for window in statistics.windows if window.width > 0]
    segments = [name for name, _ in details.summary.segments]
    names = [*segments, *(row.state for row in details.summary.states if row.whole)]
    main = _main(details, names)
    workflow = details.workflow
    marks = [(at, f"interrupted {show_duration(round(idle))}") for at, idle in statistics.gaps]
    if details.summary.scenario.warm_up:
        marks.append((details.summary.scenario.warm_up, "end of warm-up"))
    marks += [(window.elapsed, "graceful stop") for window in windows if window.over][:1]
    if workflow.round_end is not None and details.summary.scenario.rounds != 1:
        rounds = [
            _number(w.rate(f"{workflow.round_end}.moved.{workflow.round_outcome}", f"{workflow.round_end}.moved.done"))
            for w in windows
        ]
    else:
        rounds = None
    return {
        "t": [_number(window.elapsed + window.width / 2) for window in windows],
        "started": [_number(window.rate("started")) for window in windows],
        "ended": [_number(_sum(window, "ended.") / window.width) for window in windows],
        "rounds": rounds,
        "active": [_number(window.concurrency) for window in windows],
        "active_max": [window.active[2] for window in windows],
        "wanted": None if details.summary.scenario.is_open else [_number(window.wanted) for window in windows],
        "offered": None if rounds is None else [_number(window.offered) for window in windows],
        "errors": [_number(sum(t.count for t in window.errors.values()) / window.width) for window in windows],
        "memory": [_number(window.memory / 1e6) for window in windows],
        "latency": {name: [_series(windows, name, p) for p in (50, 95, 99)] for name in names},
        "curves": {name: _curve(statistics, name) for name in names},
        "percentiles": CURVE,
        "marks": marks,
        "main": main,
    }


def _main(details: Details, names: Sequence[str]) -> str:
    """The series that a chart opens on."""
    main = main_series(details.workflow)
    return main if main in names else next(iter(names), "")


def _series(windows: Iterable[Window], name: str, percentile: float) -> list[float | None]:
    found = (window.latencies.get(name) for window in windows)
    return [_number(latency.at(percentile) * 1000) if latency else None for latency in found]


def _curve(statistics: Statistics, name: str) -> list[float | None]:
    histogram = statistics.total.histograms.get(name)
    if histogram is None or not histogram.total:
        return [None] * len(CURVE)
    return [_number(min(value, histogram.max) / 1000) for value in histogram.values_at(CURVE)]


def _sum(window: Window, prefix: str) -> int:
    return sum(count for name, count in window.counters.items() if name.startswith(prefix))


def _number(value: float) -> float:
    return float(f"{value:.5g}")
