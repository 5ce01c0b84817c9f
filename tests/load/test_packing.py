"""Packed histograms and latencies equal those that they were made of."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.load.histogram import HIGHEST_US, Histogram
from orchestrator.load.latency import Latencies, Latency
from orchestrator.load.packing import PackedHistograms

VALUES = st.lists(st.integers(min_value=1, max_value=HIGHEST_US), max_size=20)


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    made.record(values)
    return made


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_unpacked_histograms_equal_the_packed_ones(values: dict[str, list[int]]) -> None:
    before = {name: histogram(some) for name, some in values.items()}
    assert PackedHistograms.of(before).unpacked() == before


def test_high_counts_are_packed_too() -> None:
    high = histogram([5])
    high.counts[0] = high.total = 100_000
    assert PackedHistograms.of({"one": high}).unpacked() == {"one": high}


def test_unpacked_histograms_share_nothing_with_the_packed_ones() -> None:
    packed = PackedHistograms.of({"one": histogram([5])})
    packed.unpacked()["one"].record([5, 7])
    assert packed.unpacked() == {"one": histogram([5])}


@given(st.dictionaries(st.text(max_size=5), VALUES.filter(bool), max_size=5))
def test_latencies_are_the_mapping_that_they_were_packed_from(values: dict[str, list[int]]) -> None:
    before = {name: Latency.of(histogram(some)) for name, some in values.items()}
    latencies = Latencies({name: latency for name, latency in before.items() if latency is not None})
    assert latencies == before
    assert list(latencies) == list(before)
    assert len(latencies) == len(before)
    assert latencies.get("unknown") is None
    with pytest.raises(KeyError, match="unknown"):
        latencies["unknown"]


def test_a_closed_window_of_a_busy_run_takes_less_than_eight_kilobytes() -> None:
    rng = Random(1)
    histograms = {f"state_{n}.attempt": histogram([int(1e4 * rng.lognormvariate(0, 0.5)) for _ in range(120)]) for n in range(35)}
    latencies = {name: latency for name, one in histograms.items() if (latency := Latency.of(one)) is not None}
    tracemalloc.start()
    try:
        kept = [(PackedHistograms.of(histograms), Latencies(latencies)) for _ in range(20)]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken / len(kept) < 8_000
