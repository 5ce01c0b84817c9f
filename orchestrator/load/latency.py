"""Latency: a series, read off its histogram; and the latencies of all series of a window, in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping

import attrs

from orchestrator.load.histogram import Histogram

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


@attrs.frozen
class Latency:
    """A series, read off its histogram. Seconds."""

    count: int
    min: float
    max: float
    percentiles: tuple[float, ...]
    """One for each of ``PERCENTILES``."""

    @classmethod
    def of(cls, histogram: Histogram | None) -> Latency | None:
        """``None`` if nothing was measured."""
        if histogram is None or not histogram.total:
            return None
        low, high = histogram.min, histogram.max
        found = histogram.values_at(PERCENTILES)
        return cls(histogram.total, low / 1e6, high / 1e6, tuple(min(value, high) / 1e6 for value in found))

    def at(self, percentile: float) -> float:
        """One of ``PERCENTILES``."""
        return self.percentiles[PERCENTILES.index(percentile)]


class Latencies(Mapping[str, Latency]):
    """Series → latency. A run keeps those of hundreds of windows, so they are numbers in one array: a fifth of the memory of as many
    :class:`Latency` objects, which are made when they are asked for."""

    __slots__ = ("_names", "_numbers")

    def __init__(self, latencies: Mapping[str, Latency]) -> None:
        self._names = tuple(latencies)
        self._numbers = array("d")
        for latency in latencies.values():
            self._numbers.extend((latency.count, latency.min, latency.max, *latency.percentiles))

    def __getitem__(self, series: str) -> Latency:
        try:
            place = self._names.index(series)
        except ValueError:
            raise KeyError(series) from None
        width = 3 + len(PERCENTILES)
        count, low, high, *percentiles = self._numbers[place * width : (place + 1) * width]
        return Latency(int(count), low, high, tuple(percentiles))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
