"""Statistics of a run: its windows in order of time, and their sum.

Rules:

* Latencies and percentiles are never averaged: histograms are added, and percentiles are read off the sum.
* The **measured interval** begins at the end of the warm-up. It ends with the time of the scenario; if the scenario has no time,
  when the last instance has ended; if a broken threshold ended the scenario, at that moment. Pauses between processes do not count.
* Counts and rates cover the instances and calls that ended in the measured interval; rates divide by its length.
* The graceful stop follows the measured interval. Percentiles, shares and errors include it, because a run that left out its late
  ends and late failures would look better than it was. Counts and rates do not.
* The warm-up is in none of these numbers. Windows show all three phases separately.

Series (see :mod:`orchestrator.load.series`): the name of a state is the time from when the state was due to its outcome, with
retries and waits; ``STATE.attempt``, ``STATE.recover`` and ``STATE.rollback`` are single calls. Then follow the segments of the
workflow, ``round`` (from when its first state was due to the end of its last one), ``instance`` (from when it was due to its end,
without the teardown), ``start_lag`` and ``wait.GROUP``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from orchestrator.load.latency import Latency
from orchestrator.load.merging import merged_by_time
from orchestrator.load.window import Window
from orchestrator.storage.records import StoredWindow


@attrs.define(kw_only=True)
class Statistics:
    """The measurements of a run: its windows in order of time, without their histograms, and the sum of those that count."""

    windows: list[Window] = attrs.field(factory=list)
    total: Window = attrs.field(factory=lambda: Window(at=0.0, elapsed=0.0))
    """The sum without the warm-up; its width is that of the measured interval."""

    @classmethod
    def of(cls, rows: Iterable[StoredWindow]) -> Statistics:
        """From the stored windows of any number of processes. Windows of several shards are merged by time."""
        rows = list(rows)
        if len({row.shard for row in rows}) > 1:
            return cls._merged(rows)
        found = cls()
        for row in rows:
            window = Window.loads(row.body, into=found.total, histograms=False)
            found.windows.append(window)
            if window.is_measured:
                found.total.width += window.width
        return found

    @classmethod
    def _merged(cls, rows: Sequence[StoredWindow]) -> Statistics:
        shards: dict[int, list[Window]] = {}
        for row in rows:
            shards.setdefault(row.shard, []).append(Window.loads(row.body))
        found = cls()
        for window in merged_by_time(list(shards.values())):
            if not window.warm:
                found.total.add(window)
                found.total.width += window.width if window.is_measured else 0.0
            window.read_off()
            window.histograms = {}
            found.windows.append(window)
        return found

    def beside(self, other: Statistics) -> Statistics:
        """These and those of other processes that drive the same run at the same time: counts are added, time is not. Windows
        of both stand side by side."""
        if not other.windows:
            return self
        total = Window(at=self.total.at, elapsed=self.total.elapsed, width=max(self.total.width, other.total.width))
        total.add(self.total)
        total.add(other.total)
        return Statistics(windows=sorted([*self.windows, *other.windows], key=lambda window: window.elapsed), total=total)

    @property
    def elapsed(self) -> float:
        """Seconds of the scenario that have passed."""
        return max((window.elapsed + window.width for window in self.windows), default=0.0)

    @property
    def began_at(self) -> float | None:
        """Unix time of the first measurement."""
        return self.windows[0].at if self.windows else None

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """The pauses in which no process drove the run: (seconds of the scenario, seconds of pause)."""
        found = []
        for before, after in zip(self.windows, self.windows[1:], strict=False):
            idle = after.at - (before.at + before.width)
            if idle > 1.0:
                found.append((after.elapsed, idle))
        return found

    @property
    def seconds(self) -> float:
        """The length of the measured interval."""
        return self.total.width

    def ended(self, series: str) -> int:
        """The number of measurements of a series that ended in the measured interval."""
        found = (window.latencies.get(series) for window in self.windows if window.is_measured)
        return sum(latency.count for latency in found if latency is not None)

    def rate(self, series: str) -> float | None:
        """Measurements of a series that ended, per second of the measured interval; ``None``: the interval is empty."""
        return self.ended(series) / self.seconds if self.seconds else None

    def measured(self) -> Window:
        """The numbers of the measured interval, without histograms."""
        found = Window(at=0.0, elapsed=0.0, width=self.seconds)
        for window in self.windows:
            if window.is_measured:
                found.add_numbers(window)
        return found

    def latency(self, series: str) -> Latency | None:
        """The latency of a series, without the warm-up."""
        return Latency.of(self.total.histograms.get(series))
