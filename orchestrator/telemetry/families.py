"""Metric families: the metrics of a process at one moment, in the form that all exporters read.

Names and units are those of Prometheus: base units, ``_seconds``; an exporter appends ``_total`` to counters. Labels are bounded by
the definition of the workflow (states, outcomes, groups); none names an instance.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

import attrs

CALL_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets of one call, in seconds: from the sandbox's millisecond to the longest time limit of an attempt."""
WHOLE_BOUNDS = (*CALL_BOUNDS, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""The same for durations that contain retries and waits."""

COMMIT_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""The same for commits."""


class Kind(Enum):
    """Kind of a metric family."""

    COUNTER = "counter"
    """Counts from the start of the process on."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@attrs.define
class Buckets:
    """Durations counted in buckets. Like a counter, it counts from the start of the process on."""

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

    @property
    def total(self) -> int:
        """Number of durations."""
        return sum(self.counts)


@attrs.frozen
class Point:
    """One value of a family."""

    labels: Mapping[str, str]
    value: float | Buckets
    """``Buckets`` in a histogram."""


@attrs.frozen(kw_only=True)
class Family:
    """A metric with its values."""

    name: str
    kind: Kind
    help: str
    points: Sequence[Point]


def merged(families: Iterable[Family]) -> list[Family]:
    """Each family once, with the points of all."""
    found: dict[str, Family] = {}
    for family in families:
        before = found.get(family.name)
        found[family.name] = family if before is None else attrs.evolve(before, points=[*before.points, *family.points])
    return list(found.values())
