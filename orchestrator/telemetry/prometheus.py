"""Metrics in the text formats of Prometheus, made by its client library."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator.load.buckets import Buckets
from orchestrator.telemetry.families import Family, Kind
from orchestrator.telemetry.metrics import Metrics


@attrs.frozen
class Scrape:
    """The answer to a scrape."""

    body: bytes
    content_type: str


class Exposition:
    """Answers scrapes with the metrics of this process: of its runs, and of the process itself."""

    def __init__(self, metrics: Metrics) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Source(metrics))
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def scrape(self, accept: str) -> Scrape:
        """All metrics as they are now.

        Args:
            accept: The header ``Accept`` of the request, which chooses between the text format and OpenMetrics.
        """
        encode, content_type = choose_encoder(accept)
        return Scrape(encode(self._registry), content_type)


class _Source(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterator[Metric]:
        """The registry asks for the names only, to find those that are given twice; ours are."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See the base class."""
        return (_converted(family) for family in self._metrics.families())


def _converted(family: Family) -> Metric:
    names = list(family.points[0].labels) if family.points else []
    match family.kind:
        case Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(family.name, family.help, labels=names)
            for point in family.points:
                assert isinstance(point.value, Buckets)
                histogram.add_metric(list(point.labels.values()), _cumulated(point.value), point.value.sum)
            return histogram
        case Kind.COUNTER | Kind.GAUGE:
            cls = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
            metric = cls(family.name, family.help, labels=names)
            for point in family.points:
                assert not isinstance(point.value, Buckets)
                metric.add_metric(list(point.labels.values()), point.value)
            return metric


def _cumulated(buckets: Buckets) -> list[tuple[str, float]]:
    """Upper bound → number of durations up to it, as Prometheus counts."""
    found, count = [], 0
    for bound, here in zip((*map(repr, buckets.bounds), "+Inf"), buckets.counts, strict=True):
        count += here
        found.append((bound, float(count)))
    return found
