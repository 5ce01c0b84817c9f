"""Two runs compared: their numbers and latencies, and the change between them."""

from __future__ import annotations

import attrs

from orchestrator.inspection.details import Details
from orchestrator.lifecycle.instance import Status
from orchestrator.load.figures import figure
from orchestrator.load.latency import Latency
from orchestrator.load.series import is_work
from orchestrator.report.text import milliseconds

NOISE = 0.03
"""Smaller changes are called neither better nor worse."""


@attrs.frozen
class Change:
    """One number of both runs as text. ``better``: whether the second run is better; ``None`` if neither is."""

    what: str
    before: str
    after: str
    change: str
    better: bool | None


@attrs.frozen(kw_only=True)
class Comparison:
    """Two runs with the changes of their numbers and latencies."""

    first: Details
    second: Details
    numbers: tuple[Change, ...]
    latencies: tuple[tuple[str, tuple[Change, Change, Change]], ...]
    """State or segment, and the changes of its p50, p95 and p99."""


def compare(first: Details, second: Details) -> Comparison:
    """Compare two runs of one workflow."""
    one, two = first.summary, second.summary
    numbers = [
        _number("instances started", one.admitted, two.admitted, None),
        _number("completed", one.counts.get(Status.COMPLETED, 0), two.counts.get(Status.COMPLETED, 0), None),
        _number("did not complete", first.failures, second.failures, False),
        _number("errors met", sum(e.tally.count for e in one.errors), sum(e.tally.count for e in two.errors), False),
        _number("seconds measured", one.statistics.seconds, two.statistics.seconds, None),
    ]
    spans_one, spans_two = dict(one.segments), dict(two.segments)
    numbers += [
        _number(f"{name} a second", one.statistics.rate(name) or 0.0, two.statistics.rate(name) or 0.0, True)
        for name, _ in one.segments
        if name in spans_two and is_work(name)
    ]
    memory = one.statistics.total.memory / 1e6, two.statistics.total.memory / 1e6
    numbers.append(_number("memory, MB", *memory, False))
    before = {row.state: row.whole for row in one.states} | spans_one
    after = {row.state: row.whole for row in two.states} | spans_two
    latencies = []
    for name, latency in before.items():
        other = after.get(name)
        if latency is not None and other is not None:
            latencies.append((name, (_time(latency, other, 50), _time(latency, other, 95), _time(latency, other, 99))))
    return Comparison(first=first, second=second, numbers=tuple(numbers), latencies=tuple(latencies))


def _number(what: str, before: float, after: float, more_is_better: bool | None) -> Change:
    share, text = _share(before, after)
    better = None if more_is_better is None or share is None or abs(share) < NOISE else (share > 0) == more_is_better
    return Change(what, figure(before), figure(after), text, better)


def _time(before: Latency, after: Latency, percentile: float) -> Change:
    share, text = _share(before.at(percentile), after.at(percentile))
    better = None if share is None or abs(share) < NOISE else share < 0
    return Change(f"p{percentile:g}", milliseconds(before.at(percentile)), milliseconds(after.at(percentile)), text, better)


def _share(before: float, after: float) -> tuple[float | None, str]:
    if before == after:
        return 0.0, "="
    if not before:
        return None, "new"
    share = (after - before) / before
    return share, f"{share:+.0%}" if abs(share) < 10 else f"x {after / before:.0f}"
