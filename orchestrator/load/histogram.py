"""Histogram: counts of durations in log-linear buckets, from which percentiles are read.

The buckets are those of an HdrHistogram with two digits: values (µs) are told apart to better than 1 %. Counts are sparse, because
a series of a run fills some hundred of the few thousand buckets, and they hold no reference cycles: a histogram frees its memory
with its last reference, where the objects of the ``hdrhistogram`` package wait for the garbage collector.

Source: Gil Tene, HdrHistogram (https://hdrhistogram.github.io/HdrHistogram/).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

import attrs

HIGHEST_US = 7 * 24 * 3600 * 1_000_000
"""Longer durations are counted as a week."""
_HALF_BITS = 7
_MASK = (2 << _HALF_BITS) - 1
"""Values up to here have a bucket each; from there on, buckets double in width with every power of two."""


@attrs.define
class Histogram:
    """Durations in microseconds, from 1 to ``HIGHEST_US``."""

    counts: dict[int, int] = attrs.field(factory=dict)
    """Bucket → how many."""
    total: int = 0
    min: int = HIGHEST_US
    max: int = 0

    def record(self, values: Sequence[int]) -> None:
        """Count values, each between 1 and ``HIGHEST_US``."""
        if not values:
            return
        counts = self.counts
        for value in values:
            shift = (value | _MASK).bit_length() - _HALF_BITS - 1
            bucket = (shift << _HALF_BITS) + (value >> shift)
            counts[bucket] = counts.get(bucket, 0) + 1
        self.total += len(values)
        self.min = min(self.min, *values)
        self.max = max(self.max, *values)

    def add(self, other: Histogram) -> None:
        """Count everything that ``other`` has counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += other.total
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def values_at(self, percentiles: Iterable[float]) -> list[int]:
        """The values (µs) at these percentiles: the highest of the bucket in which each lies. There must be values."""
        buckets = sorted(self.counts)
        sums = list(accumulate(self.counts[bucket] for bucket in buckets))
        found = []
        for percentile in percentiles:
            target = max(1, int(percentile / 100 * self.total + 0.5))
            found.append(_highest_in(buckets[min(bisect_left(sums, target), len(sums) - 1)]))
        return found

    def above(self, limit: int) -> int:
        """How many are certainly higher than ``limit`` µs: those in buckets that lie above it as a whole."""
        return sum(count for bucket, count in self.counts.items() if bucket and _highest_in(bucket - 1) >= limit)

    def below(self, limit: int) -> int:
        """How many are certainly lower than ``limit`` µs."""
        return sum(count for bucket, count in self.counts.items() if _highest_in(bucket) < limit)

    def dumps(self) -> list[int]:
        """The stored form: lowest and highest value, then each bucket with its count."""
        return [self.min, self.max, *(number for item in self.counts.items() for number in item)]

    @classmethod
    def loads(cls, data: Sequence[int]) -> Histogram:
        """From the stored form."""
        counts = dict(zip(data[2::2], data[3::2], strict=True))
        return cls(counts, sum(counts.values()), data[0], data[1])


def _highest_in(bucket: int) -> int:
    shift = max(0, (bucket >> _HALF_BITS) - 1)
    return ((bucket - (shift << _HALF_BITS) + 1) << shift) - 1
