"""Buckets: durations as exporters of metrics count them."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import attrs

CALL_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of one call, in seconds: from the sandbox's millisecond to the longest time limit of an attempt."""
WHOLE_BOUNDS = (*CALL_BOUNDS, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""The same for durations that contain retries and waits."""
COMMIT_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""The same for commits."""


@attrs.define
class Buckets:
    """Durations counted in buckets."""

    bounds: Sequence[float]
    counts: list[int] = attrs.field(init=False)
    """One for each bound, and one above the highest bound."""
    sum: float = 0.0
    min: float = math.inf
    max: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def record(self, seconds: Iterable[float]) -> None:
        """Count durations. One that equals a bound is in the bucket of this bound."""
        for value in seconds:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value
            self.min, self.max = min(self.min, value), max(self.max, value)

    def add(self, other: Buckets) -> None:
        """Count everything that ``other``, which has the same bounds, has counted."""
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum
        self.min, self.max = min(self.min, other.min), max(self.max, other.max)

    @property
    def total(self) -> int:
        """Number of durations."""
        return sum(self.counts)

    def dumps(self) -> list[float]:
        """As JSON has it; there must be durations."""
        return [self.sum, self.min, self.max, *self.counts]

    @classmethod
    def loads(cls, bounds: Sequence[float], data: Sequence[float]) -> Buckets:
        """The inverse of :meth:`dumps`."""
        found = cls(bounds, sum=data[0], min=data[1], max=data[2])
        found.counts = [int(count) for count in data[3:]]
        return found
