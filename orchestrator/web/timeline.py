"""The time line of a run: its driven times, its interruptions, and the events in between. Pure."""

from __future__ import annotations

import attrs

from orchestrator.inspection.snapshot import Snapshot
from orchestrator.lifecycle.duration import show_duration
from orchestrator.load.window import Window


@attrs.frozen(kw_only=True)
class Moment:
    """One event of a run. Times are Unix seconds."""

    at: float
    text: str
    style: str = ""


@attrs.frozen(kw_only=True)
class Stretch:
    """A time in which processes drove the run, as a part of a bar that is 1000 wide."""

    x: float
    width: float


def timeline(found: Snapshot) -> list[Moment]:
    """The events of a run, in order."""
    record, statistics = found.record, found.statistics
    moments = [Moment(at=record.created_at, text="started")]
    for before, after in zip(statistics.windows, statistics.windows[1:], strict=False):
        idle = after.at - (before.at + before.width)
        if idle > 1.0:
            moments.append(Moment(at=before.at + before.width, text="interrupted", style="warn"))
            moments.append(Moment(at=after.at, text=f"continued after {show_duration(round(idle))}"))
        if before.warm and not after.warm:
            moments.append(Moment(at=after.at, text="end of the warm-up"))
        if after.over and not before.over:
            moments.append(Moment(at=after.at, text="end of the scenario, graceful stop"))
    is_open = record.scenario.is_open
    moments += [
        Moment(at=change.asked_at, text=f"changed to {change.describe(is_open=is_open)}") for change in record.scenario.changes
    ]
    if found.is_finished:
        moments.append(Moment(at=record.updated_at, text="finished", style="good"))
    elif not found.is_driven and statistics.windows:
        last = statistics.windows[-1]
        moments.append(Moment(at=last.at + last.width, text="interrupted, not continued yet", style="warn"))
    return sorted(moments, key=lambda moment: moment.at)


def stretches(found: Snapshot) -> list[Stretch]:
    """The bar: from the start of the run until now, or until it finished."""
    begin = found.record.created_at
    end = found.record.updated_at if found.is_finished else found.at
    length = max(end - begin, 1e-6)
    merged: list[tuple[float, float]] = []
    for window in found.statistics.windows:
        merged = _joined(merged, window)
    return [
        Stretch(x=round(1000 * max(0.0, at - begin) / length, 1), width=round(max(2.0, 1000 * (until - at) / length), 1))
        for at, until in merged
    ]


def _joined(merged: list[tuple[float, float]], window: Window) -> list[tuple[float, float]]:
    until = window.at + window.width
    if merged and window.at - merged[-1][1] <= 1.0:
        return [*merged[:-1], (merged[-1][0], max(merged[-1][1], until))]
    return [*merged, (window.at, until)]
