"""Metric families: the metrics of a process at one moment, in the form that all exporters read.

Names and units are those of Prometheus: base units, ``_seconds``; an exporter appends ``_total`` to counters. Labels are bounded by
the definition of the workflow (states, outcomes, groups); none names an instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

import attrs

from orchestrator.load.buckets import Buckets


class Kind(Enum):
    """Kind of a metric family."""

    COUNTER = "counter"
    """Counts from the start of the process on."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


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
