"""A window: the measurements of a stretch of time, in histograms and counters, and its stored form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import attrs
import orjson

from orchestrator.json_types import JSONObject
from orchestrator.load.histogram import HIGHEST_US, Histogram
from orchestrator.load.latency import Latencies, Latency

_ERROR_KINDS = 200
"""Kinds of errors that are counted separately; further ones are counted together."""


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
    """Read off the histograms before these were discarded."""
    counters: Counter[str] = attrs.field(factory=Counter)
    errors: dict[ErrorKey, ErrorTally] = attrs.field(factory=dict)
    active: tuple[int, int, int] = (0, 0, 0)
    """Running instances: sum and number of the samples, highest sample."""
    load: tuple[int, int] = (0, 0)
    """Sums over the same samples: the instances that a closed scenario wanted, and those that made load (in their rounds, if the
    scenario has rounds)."""
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
        """Merge the measurements of ``other``; the caller sets the width."""
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
        """The number of measurements of a series."""
        if series in self.histograms:
            return self.histograms[series].total
        return latency.count if (latency := self.latencies.get(series)) else 0

    @property
    def is_measured(self) -> bool:
        """Whether it lies in the measured interval."""
        return not self.warm and not self.over

    @property
    def concurrency(self) -> float:
        """Running instances, on average."""
        return self.active[0] / self.active[1] if self.active[1] else 0.0

    @property
    def wanted(self) -> float:
        """Running instances that a closed scenario wanted, on average."""
        return self.load[0] / self.active[1] if self.active[1] else 0.0

    @property
    def offered(self) -> float:
        """Instances that made load, on average."""
        return self.load[1] / self.active[1] if self.active[1] else 0.0

    def rate(self, *counters: str) -> float:
        """The sum of these counters, per second."""
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
            histograms: Whether the window itself gets its histograms.
        """
        data: JSONObject = orjson.loads(body)
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
