"""Metric families in the data model of OpenTelemetry. Counters and histograms are cumulative, from the start of the process."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from orchestrator.load.buckets import Buckets
from orchestrator.telemetry.families import Family, Kind, Point
from orchestrator.telemetry.metrics import PREFIX
from orchestrator.version import installed_version

_SECONDS = "_seconds"
_CUMULATIVE = AggregationTemporality.CUMULATIVE


def metrics_data(families: Iterable[Family], resource: Resource, start_ns: int, now_ns: int) -> MetricsData:
    """All metrics that have a value.

    Args:
        start_ns: When the process began to count, as Unix nanoseconds.
    """
    metrics = [_metric(family, start_ns, now_ns) for family in families if any(map(_has_value, family.points))]
    scope = ScopeMetrics(InstrumentationScope("orchestrator", installed_version()), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, start_ns: int, now_ns: int) -> Metric:
    name, unit = family.name.replace(PREFIX, "orchestrator.", 1), ""
    if name.endswith(_SECONDS):
        # A server that reads the unit appends it again, and so gets the name that Prometheus scrapes.
        name, unit = name.removesuffix(_SECONDS), "s"
    points = [point for point in family.points if _has_value(point)]
    if family.kind is Kind.HISTOGRAM:
        return Metric(
            name, family.help, unit, Histogram([_distribution(point, start_ns, now_ns) for point in points], _CUMULATIVE)
        )
    numbers = [_number(point, start_ns, now_ns) for point in points]
    if family.kind is Kind.COUNTER:
        return Metric(name, family.help, unit, Sum(numbers, _CUMULATIVE, True))
    return Metric(name, family.help, unit, Gauge(numbers))


def _has_value(point: Point) -> bool:
    return not isinstance(point.value, Buckets) or point.value.total > 0


def _number(point: Point, start_ns: int, now_ns: int) -> NumberDataPoint:
    assert not isinstance(point.value, Buckets)
    return NumberDataPoint(point.labels, start_ns, now_ns, point.value)


def _distribution(point: Point, start_ns: int, now_ns: int) -> HistogramDataPoint:
    found = point.value
    assert isinstance(found, Buckets)
    return HistogramDataPoint(
        point.labels, start_ns, now_ns, found.total, found.sum, tuple(found.counts), tuple(found.bounds), found.min, found.max
    )
