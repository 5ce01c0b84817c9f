"""Histogram: counts of durations in log-linear buckets, from which percentiles are read.

The buckets are those of an HdrHistogram with two digits: values (µs) are told apart to better than 1 %. Counts lie in one array from
the lowest bucket in use to the highest: a series of a run spans some hundred of the few thousand buckets, and takes a sixth of the memory of
a dictionary. A histogram holds no reference cycles: it frees its memory with its last reference, where the objects of the ``hdrhistogram``
package wait for the garbage collector.

Source: Gil Tene, HdrHistogram (https://hdrhistogram.github.io/HdrHistogram/).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from operator import add, itemgetter

import attrs

HIGHEST_US = 7 * 24 * 3600 * 1_000_000
"""Longer durations are counted as a week."""
_HALF_BITS = 7
_MASK = (2 << _HALF_BITS) - 1
"""Values up to here have a bucket each; from there on, buckets double in width with every power of two."""


@attrs.define
class Histogram:
    """Durations in microseconds, from 1 to ``HIGHEST_US``."""

    counts: array[int] = attrs.field(factory=lambda: array("Q"))
    """How many are in each bucket, from that of the lowest value to that of the highest."""
    first: int = 0
    """The bucket of ``counts[0]``."""
    total: int = 0
    min: int = HIGHEST_US
    max: int = 0

    def record(self, values: Sequence[int]) -> None:
        """Count values, each between 1 and ``HIGHEST_US``."""
        if not values:
            return
        lowest, highest = min(values), max(values)
        self._cover(_bucket(lowest), _bucket(highest))
        counts, first = self.counts, self.first
        for value in values:
            shift = (
                (value | _MASK).bit_length() - _HALF_BITS - 1
            )  # as in `_bucket`: a call for each value would take half the time
            counts[(shift << _HALF_BITS) + (value >> shift) - first] += 1
        self.total += len(values)
        self.min = min(self.min, lowest)
        self.max = max(self.max, highest)

    def add(self, other: Histogram) -> None:
        """Count everything that ``other`` has counted."""
        if not other.total:
            return
        if not self.total:
            self.counts, self.first = other.counts[:], other.first
            self.total, self.min, self.max = other.total, other.min, other.max
            return
        self._cover(other.first, other.first + len(other.counts) - 1)
        begin = other.first - self.first
        end = begin + len(other.counts)
        self.counts[begin:end] = array("Q", map(add, self.counts[begin:end], other.counts))
        self.total += other.total
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def add_stored(self, data: Sequence[int]) -> None:
        """Count everything of a stored form (see :meth:`dumps`)."""
        if len(data) <= 2:
            return
        self._cover(data[2], data[-2])
        counts, first = self.counts, self.first
        for bucket, count in zip(data[2::2], data[3::2], strict=True):
            counts[bucket - first] += count
        self.total += sum(data[3::2])
        self.min = min(self.min, data[0])
        self.max = max(self.max, data[1])

    def values_at(self, percentiles: Iterable[float]) -> list[int]:
        """The values (µs) at these percentiles: the highest of the bucket in which each lies. There must be values."""
        sums = list(accumulate(self.counts))
        found = []
        for percentile in percentiles:
            target = max(1, int(percentile / 100 * self.total + 0.5))
            found.append(_highest_in(self.first + min(bisect_left(sums, target), len(sums) - 1)))
        return found

    def above(self, limit: int) -> int:
        """How many are certainly higher than ``limit`` µs: those in buckets that lie above it as a whole."""
        return sum(count for bucket, count in self._filled() if bucket and _highest_in(bucket - 1) >= limit)

    def below(self, limit: int) -> int:
        """How many are certainly lower than ``limit`` µs."""
        return sum(count for bucket, count in self._filled() if _highest_in(bucket) < limit)

    def dumps(self) -> list[int]:
        """The stored form: lowest and highest value, then each bucket with its count."""
        return [self.min, self.max, *chain.from_iterable(self._filled())]

    @classmethod
    def loads(cls, data: Sequence[int]) -> Histogram:
        """From the stored form."""
        histogram = cls(min=data[0], max=data[1])
        if len(data) > 2:
            histogram._cover(_bucket(data[0]), _bucket(data[1]))
        for bucket, count in zip(data[2::2], data[3::2], strict=True):
            histogram.counts[bucket - histogram.first] = count
            histogram.total += count
        return histogram

    def _filled(self) -> Iterator[tuple[int, int]]:
        """Buckets that are not empty, in order, with their counts."""
        return filter(itemgetter(1), enumerate(self.counts, self.first))

    def _cover(self, first: int, last: int) -> None:
        """Have a place for each of these buckets."""
        if not self.counts:
            self.first = first
        elif first < self.first:
            self.counts = _zeros(self.first - first) + self.counts
            self.first = first
        self.counts.extend(_zeros(last + 1 - self.first - len(self.counts)))


def _zeros(number: int) -> array[int]:
    return array("Q", bytes(8 * max(0, number)))


def _bucket(value: int) -> int:
    shift = (value | _MASK).bit_length() - _HALF_BITS - 1
    return (shift << _HALF_BITS) + (value >> shift)


def _highest_in(bucket: int) -> int:
    shift = max(0, (bucket >> _HALF_BITS) - 1)
    return ((bucket - (shift << _HALF_BITS) + 1) << shift) - 1
