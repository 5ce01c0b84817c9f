"""Histograms: as precise as an HdrHistogram, and freed with their last reference."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from random import Random

import orjson
import pytest
from hdrh.histogram import HdrHistogram

from orchestrator.load.histogram import HIGHEST_US, Histogram
from orchestrator.load.latency import PERCENTILES, Latency
from orchestrator.load.window import Window

EDGES = [1, 2, 127, 128, 255, 256, 257, 511, 512, 1023, 1024, 7_200_000_000, HIGHEST_US - 1, HIGHEST_US]


def _values(seed: int, number: int = 3000) -> list[int]:
    rng = Random(seed)
    return [min(HIGHEST_US, int(rng.lognormvariate(10, 4)) + 1) for _ in range(number)]


def _histogram(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.record(values)
    return histogram


@pytest.mark.parametrize("values", [EDGES, _values(3), _values(5), [42]], ids=["edges", "spread", "other spread", "one"])
def test_percentiles_are_those_of_an_hdr_histogram(values: list[int]) -> None:
    reference = HdrHistogram(1, HIGHEST_US, 2)
    for value in values:
        assert reference.record_value(value)
    wanted = reference.get_percentile_to_value_dict([*PERCENTILES, 100.0])
    assert _histogram(values).values_at([*PERCENTILES, 100.0]) == list(wanted.values())


@pytest.mark.parametrize("value", EDGES)
def test_a_value_is_told_to_one_percent(value: int) -> None:
    [found] = _histogram([value]).values_at([50.0])
    assert value <= found <= value * 1.01


def test_histograms_add_up_and_come_back_from_the_store() -> None:
    one, two = _values(7), _values(8)
    together = _histogram(one)
    together.add(_histogram([]))
    together.add(Histogram.loads(orjson.loads(orjson.dumps(_histogram(two).dumps()))))
    assert together == _histogram(one + two)
    assert Histogram.loads(Histogram().dumps()) == Histogram()


def test_a_histogram_of_three_orders_of_magnitude_takes_less_than_twelve_kilobytes() -> None:
    values = [int(10 ** (2 + 3 * number / 20_000)) for number in range(20_001)]
    tracemalloc.start()
    try:
        histogram = Histogram()
        for value in reversed(values):  # one by one, each lower than all before
            histogram.record([value])
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert histogram == _histogram(values)
    assert size < 12_000


def test_nothing_measured_is_no_latency() -> None:
    assert Latency.of(None) is None
    assert Latency.of(Histogram()) is None


def test_a_window_frees_its_memory_without_the_garbage_collector() -> None:
    class Watched(Window):
        pass

    window = Watched(at=0.0, elapsed=0.0)
    window.record("one", [0.001, 0.5, 3600.0])
    stored = Window.loads(window.dumps())
    assert stored.histograms == window.histograms
    watched = weakref.ref(window)
    gc.disable()
    try:
        before = sum(type(one) is Histogram for one in gc.get_objects())
        del window, stored
        assert watched() is None
        assert before - sum(type(one) is Histogram for one in gc.get_objects()) == 2
    finally:
        gc.enable()
