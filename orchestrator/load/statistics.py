"""Statistics: latencies in histograms, counters and errors, gathered from events in windows that can be merged.

Rules of this file:

* A latency is never averaged, and percentiles are never averaged: histograms are added, percentiles read off the sum.
* A window is a stretch of time; windows of one process or of several are merged by adding them.
* The **measured interval** begins with the end of the warm-up and ends with the time of the scenario (one without a time: when the
  last instance has ended; one that a broken threshold ended: then). Pauses between processes are no part of it. Counts and
  rates are of what ended in it, and rates divide by its length.
* What ends after it, in the graceful stop, was begun in time: it is in percentiles, shares and errors, because leaving out what
  ended late, or failed late, would flatter the run. It is in no count and in no rate.
* What ends in the warm-up is in none of them. Windows show all three, told apart.

Names of the series: a state's own name is the whole state, retries and waits included, from when it was due to its
outcome; ``STATE.attempt``, ``STATE.recover`` and ``STATE.rollback`` are single calls; then the spans of the workflow,
``round`` (from when its first state was due until its last one is done), ``instance`` (from when it was due to its end, tearing down left out), ``start_lag`` and ``wait.GROUP``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import attrs
import orjson

from orchestrator.load.histogram import HIGHEST_US, Histogram
from orchestrator.load.latency import Latencies, Latency
from orchestrator.storage.records import StoredWindow

_TOUCHING_S = 0.01
"""Windows that overlap by less follow each other."""
_ERROR_KINDS = 200
"""Kinds of errors that are told apart; further ones are counted together."""


def figure(value: float) -> str:
    """A number with as many digits as help a reader: ``15.0`` for 14.9877, ``1,499`` for 1498.77; a whole one as it is."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


@attrs.frozen(order=True)
class ErrorKey:
    """Errors that are counted together."""

    state: str
    kind: str
    code: str


@attrs.define
class ErrorTally:
    """How many, and one of them as an example."""

    count: int
    example: str


@attrs.define(kw_only=True)
class Window:
    """The measurements of a stretch of time. ``elapsed`` and ``width`` are seconds of the scenario."""

    at: float
    """Unix time of its beginning."""
    elapsed: float
    width: float = 0.0
    warm: bool = False
    """Whether it lies in the warm-up."""
    over: bool = False
    """Whether it lies in the graceful stop."""
    histograms: dict[str, Histogram] = attrs.field(factory=dict)
    latencies: Mapping[str, Latency] = attrs.field(factory=dict)
    """Read off the histograms, when they were let go."""
    counters: Counter[str] = attrs.field(factory=Counter)
    errors: dict[ErrorKey, ErrorTally] = attrs.field(factory=dict)
    active: tuple[int, int, int] = (0, 0, 0)
    """Instances under way: sum and number of the samples, highest."""
    load: tuple[int, int] = (0, 0)
    """Of the same samples: sum of the instances that a closed scenario wanted under way, and of those that made load then (in
    their rounds, if the scenario has rounds)."""
    memory: int = 0
    """Resident bytes of the process, highest."""
    cpu_s: float = 0.0
    """CPU time of the process."""
    process: str = ""
    """The process that measured it, for people; of several, the first."""

    def record(self, series: str, seconds: Iterable[float]) -> None:
        """Add measurements."""
        histogram = self.histograms.get(series)
        if histogram is None:
            histogram = self.histograms[series] = Histogram()
        values = [int(value * 1_000_000) for value in seconds]
        if values and (min(values) < 1 or max(values) > HIGHEST_US):
            values = [min(max(value, 1), HIGHEST_US) for value in values]
        histogram.record(values)

    def add(self, other: Window) -> None:
        """Merge what was measured in ``other``; the width is the caller's to say."""
        for series, histogram in other.histograms.items():
            if series not in self.histograms:
                self.histograms[series] = Histogram()
            self.histograms[series].add(histogram)
        self.add_numbers(other)

    def add_numbers(self, other: Window) -> None:
        """Merge all but the histograms."""
        self.counters.update(other.counters)
        for key, tally in other.errors.items():
            self.count_error(key, tally.example, tally.count)
        total, samples, highest = self.active
        self.active = (total + other.active[0], samples + other.active[1], max(highest, other.active[2]))
        self.load = (self.load[0] + other.load[0], self.load[1] + other.load[1])
        self.memory = max(self.memory, other.memory)
        self.cpu_s += other.cpu_s
        self.process = self.process or other.process

    def count_error(self, key: ErrorKey, example: str, count: int = 1) -> None:
        """Count errors of one kind; the first example is kept."""
        if key not in self.errors and len(self.errors) >= _ERROR_KINDS:
            key = ErrorKey("", "other", "")
        if key in self.errors:
            self.errors[key].count += count
        else:
            self.errors[key] = ErrorTally(count, example)

    def read_off(self) -> None:
        """Fill ``latencies``."""
        self.latencies = Latencies({name: found for name, h in self.histograms.items() if (found := Latency.of(h))})

    def count(self, series: str) -> int:
        """How much was measured of a series."""
        if series in self.histograms:
            return self.histograms[series].total
        return latency.count if (latency := self.latencies.get(series)) else 0

    @property
    def is_measured(self) -> bool:
        """Whether it lies in the measured interval."""
        return not self.warm and not self.over

    @property
    def concurrency(self) -> float:
        """Instances under way, on average."""
        return self.active[0] / self.active[1] if self.active[1] else 0.0

    @property
    def wanted(self) -> float:
        """Instances that a closed scenario wanted under way, on average."""
        return self.load[0] / self.active[1] if self.active[1] else 0.0

    @property
    def offered(self) -> float:
        """Instances that made load, on average."""
        return self.load[1] / self.active[1] if self.active[1] else 0.0

    def rate(self, *counters: str) -> float:
        """Of these counters, per second."""
        return sum(self.counters[name] for name in counters) / self.width if self.width else 0.0

    def dumps(self) -> bytes:
        """The stored form: JSON."""
        data = {
            "at": self.at,
            "elapsed": self.elapsed,
            "width": self.width,
            "warm": self.warm,
            "over": self.over,
            "histograms": {name: histogram.dumps() for name, histogram in self.histograms.items()},
            "latencies": {name: attrs.astuple(latency) for name, latency in self.latencies.items()},
            "counters": self.counters,
            "errors": [[*attrs.astuple(key), tally.count, tally.example] for key, tally in self.errors.items()],
            "active": self.active,
            "load": self.load,
            "memory": self.memory,
            "cpu_s": self.cpu_s,
            "process": self.process,
        }
        return orjson.dumps(data)

    @classmethod
    def loads(cls, body: bytes, *, into: Window | None = None, histograms: bool = True) -> Window:
        """A stored window.

        Args:
            into: Its measurements are added here, too, unless it lies in the warm-up.
            histograms: Whether the window itself is to have its histograms.
        """
        data: dict[str, Any] = orjson.loads(body)
        encoded: Mapping[str, Sequence[int]] = data.pop("histograms")
        errors = data.pop("errors")
        window = cls(
            histograms={name: Histogram.loads(numbers) for name, numbers in encoded.items()} if histograms else {},
            latencies=Latencies(
                {name: Latency(n, low, high, tuple(p)) for name, (n, low, high, p) in data.pop("latencies").items()}
            ),
            counters=Counter(data.pop("counters")),
            errors={ErrorKey(state, kind, code): ErrorTally(count, text) for state, kind, code, count, text in errors},
            active=tuple(data.pop("active")),
            load=tuple(data.pop("load")),
            **data,
        )
        if into is not None and not window.warm:
            for name, numbers in encoded.items():
                into.histograms.setdefault(name, Histogram()).add_stored(numbers)
            into.add_numbers(window)
        return window


class _Timed(Protocol):
    """A stretch of the scenario's time."""

    @property
    def elapsed(self) -> float: ...
    @property
    def width(self) -> float: ...


W = TypeVar("W", bound=_Timed)


def grouped_by_time(windows: Iterable[W]) -> list[list[W]]:
    """Windows of several shards in order, grouped: a group reaches from one moment at which no shard has an open window to the next
    such moment."""
    found: list[list[W]] = []
    end = 0.0
    for window in sorted(windows, key=lambda one: (one.elapsed, one.elapsed + one.width)):
        if not found or window.elapsed >= end - _TOUCHING_S:
            found.append([])
            end = window.elapsed
        found[-1].append(window)
        end = max(end, window.elapsed + window.width)
    return found


def merged_by_time(shards: Sequence[Sequence[Window]]) -> list[Window]:
    """The windows of several shards as those of one run: what was measured at the same time is added, time is not.

    Args:
        shards: The windows of each shard, in order.
    """
    shard_of = {id(window): shard for shard, windows in enumerate(shards) for window in windows}
    found: list[Window] = []
    for group in grouped_by_time(window for windows in shards for window in windows):
        parts: dict[int, list[Window]] = {}
        for window in group:
            parts.setdefault(shard_of[id(window)], []).append(window)
        begin, end = group[0].elapsed, max(window.elapsed + window.width for window in group)
        found.append(_side_by_side([_one_after_the_other(part) for part in parts.values()], begin, end))
    return found


def _one_after_the_other(windows: Sequence[Window]) -> Window:
    """The windows of one shard as one."""
    first = windows[0]
    found = Window(at=first.at, elapsed=first.elapsed, warm=first.warm, over=first.over)
    for window in windows:
        found.add(window)
        found.width += window.width
    return found


def _side_by_side(windows: Sequence[Window], begin: float, end: float) -> Window:
    """Windows of different shards, which were measured at the same time, as one."""
    found = Window(
        at=min(window.at for window in windows),
        elapsed=begin,
        width=end - begin,
        warm=any(window.warm for window in windows),
        over=all(window.over for window in windows),
    )
    for window in windows:
        found.add(window)
    # Averages over the samples are added up: with the samples of all, they would be averaged.
    samples = max(window.active[1] for window in windows)

    def sum_of(totals: Iterable[tuple[int, int]]) -> int:
        return round(sum(total / count * samples for total, count in totals if count))

    found.active = (
        sum_of((window.active[0], window.active[1]) for window in windows),
        samples,
        sum(window.active[2] for window in windows),
    )
    found.load = (
        sum_of((window.load[0], window.active[1]) for window in windows),
        sum_of((window.load[1], window.active[1]) for window in windows),
    )
    found.memory = sum(window.memory for window in windows)
    return found


@attrs.define(kw_only=True)
class Statistics:
    """The measurements of a run: its windows in order of time, without their histograms, and the sum of those that count."""

    windows: list[Window] = attrs.field(factory=list)
    total: Window = attrs.field(factory=lambda: Window(at=0.0, elapsed=0.0))
    """Of all but the warm-up; its width is that of the measured interval."""

    @classmethod
    def of(cls, rows: Iterable[StoredWindow]) -> Statistics:
        """From what a store holds, of any number of processes. Windows of several shards are merged by time."""
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
        """Seconds of the scenario that were spent."""
        return max((window.elapsed + window.width for window in self.windows), default=0.0)

    @property
    def began_at(self) -> float | None:
        """Unix time of the first measurement."""
        return self.windows[0].at if self.windows else None

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """When no process drove the run: (seconds of the scenario, seconds of pause)."""
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
        """How much of a series ended in the measured interval."""
        found = (window.latencies.get(series) for window in self.windows if window.is_measured)
        return sum(latency.count for latency in found if latency is not None)

    def rate(self, series: str) -> float | None:
        """How much of a series ended, per second of the measured interval; ``None``: there is no such interval."""
        return self.ended(series) / self.seconds if self.seconds else None

    def measured(self) -> Window:
        """The numbers of the measured interval, without histograms."""
        found = Window(at=0.0, elapsed=0.0, width=self.seconds)
        for window in self.windows:
            if window.is_measured:
                found.add_numbers(window)
        return found

    def latency(self, series: str) -> Latency | None:
        """A series over all but the warm-up."""
        return Latency.of(self.total.histograms.get(series))
