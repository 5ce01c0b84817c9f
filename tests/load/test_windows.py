"""Windows: bounded, merged, and continued by another process."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.load import timeline
from orchestrator.load.latency import Latency
from orchestrator.load.merging import merged_by_time
from orchestrator.load.statistics import Statistics
from orchestrator.load.window import ErrorKey, Window
from orchestrator.storage.records import StoredWindow
from tests.support.measuring import NOW, Setting, ticks


def test_windows_of_several_processes_are_one_when_merged() -> None:
    rng = Random(1)
    values = [[rng.expovariate(20) for _ in range(500)] for _ in range(4)]
    whole, parts = Window(at=0.0, elapsed=0.0), []
    for number, some in enumerate(values):
        whole.record("one", some)
        part = Window(at=float(number), elapsed=float(number), width=1.0)
        part.record("one", some)
        part.count_error(ErrorKey("one", "transient", "503"), f"example {number}")
        part.counters["started"] = 10
        part.read_off()
        parts.append(part)
    merged = Statistics.of(StoredWindow(0, 1, seq, part.dumps()) for seq, part in enumerate(parts))
    assert merged.latency("one") == Latency.of(whole.histograms["one"])
    assert merged.total.counters["started"] == 40
    assert merged.total.errors[ErrorKey("one", "transient", "503")].count == 4
    assert merged.total.errors[ErrorKey("one", "transient", "503")].example == "example 0"
    assert merged.total.width == 4


def test_windows_are_bounded_and_lose_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "WINDOWS", 10)
    at, most = Setting(), 0
    for number in range(500):
        at.clock.time += 2.0
        at.collector.recorder.tallies["begin"].totals.append(0.001 * (number + 1))
        at.tick()
        most = max(most, len(at.rows))
    assert most <= 21
    statistics = at.read()
    assert statistics.latency("begin").count == 500
    assert statistics.total.width == pytest.approx(1000)
    assert statistics.elapsed == pytest.approx(1000)
    elapsed = 0.0
    for window in statistics.windows:
        assert window.elapsed == pytest.approx(elapsed)
        elapsed += window.width
    widths = [window.width for window in statistics.windows]
    assert max(widths) <= 8 * min(widths[:-1])
    # The collector shows the stored data.
    assert [w.latencies for w in at.collector.statistics.windows] == [w.latencies for w in statistics.windows]


def test_windows_do_not_keep_the_bytes_that_orjson_allocates_for_their_rows() -> None:
    at, rng = Setting(), Random(1)

    def measure(windows: int) -> None:
        for _ in range(windows):
            at.clock.time += 2.0
            for tally in at.collector.recorder.tallies.values():
                tally.totals.extend(rng.lognormvariate(-3, 1) for _ in range(100))
                tally.calls["run", "done"].extend(tally.totals)
            at.tick()

    measure(5)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        at.rows.clear()
        measure(50)
        rows = sum(map(len, at.rows.values()))
        at.rows.clear()  # a store would have written them
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 3 * rows


def test_a_second_process_goes_on_where_the_first_was_and_the_gap_is_told() -> None:
    first = Setting()
    first.clock.time = 4.0
    first.move("begin", total=1.0)
    first.tick()
    second = Setting(earlier=first.stored(), epoch=2)
    assert second.collector.statistics.elapsed == pytest.approx(5.0)
    second.clock.time = 5.0 + 2.0
    second.clock.now = lambda: NOW + 100 + second.clock.time  # a hundred seconds lay between
    second.move("begin", total=0.0)
    second.tick()
    merged = Statistics.of([*first.stored(), *second.stored()])
    assert merged.latency("begin").count == 2
    [(at, idle)] = merged.gaps
    assert (at, idle) == (pytest.approx(5.0), pytest.approx(100, abs=0.1))
    assert merged.total.width == pytest.approx(7.0)


def test_shards_that_measure_at_the_same_time_are_merged_by_time() -> None:
    one, two = Setting(warm_up=2.0), Setting(warm_up=2.0)
    for number, at in enumerate((one, two)):
        at.active = 3 + number
        ticks(at, 8.0)
    merged = Statistics.of([*one.stored(0), *two.stored(1)])
    assert [(w.elapsed, w.width, w.warm) for w in merged.windows] == [
        (0.0, 2.0, True),
        (2.0, 2.0, False),
        (4.0, 2.0, False),
        (6.0, 2.0, False),
    ]
    assert merged.seconds == one.read().seconds == 6
    assert merged.ended("begin") == one.read().ended("begin") + two.read().ended("begin")
    assert merged.rate("begin") == pytest.approx(2 * one.read().rate("begin"))
    assert [round(window.concurrency) for window in merged.windows] == [7] * 4


def test_a_shard_that_was_interrupted_leaves_no_hole_in_the_time_of_the_run() -> None:
    whole, first = Setting(), Setting()
    ticks(whole, 8.0)
    ticks(first, 3.5)
    second = Setting(earlier=first.stored(1), epoch=2)
    second.clock.time = first.clock.time
    ticks(second, 8.0)
    merged = Statistics.of([*whole.stored(0), *first.stored(1), *second.stored(1)])
    assert merged.seconds == pytest.approx(8.0)
    assert sum(window.width for window in merged.windows) == pytest.approx(8.0)
    assert merged.ended("begin") == whole.read().ended("begin") + first.read().ended("begin") + second.read().ended("begin")


def test_the_numbers_beside_another_process_are_added_and_its_time_is_not() -> None:
    one, two = Setting(), Setting()
    for at in (one, two):
        ticks(at, 6.0)
    both = one.collector.statistics.beside(Statistics.of(two.stored(1)))
    assert both.seconds == 6
    assert both.ended("begin") == 6
    assert both.latency("begin").count == 6


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.004, 0.5, 2.0]), st.sampled_from([0.0, 0.003, 2.0, 4.0])), max_size=6),
        min_size=1,
        max_size=3,
    )
)
def test_merging_any_windows_adds_counts_and_not_time(shards: list[list[tuple[float, float]]]) -> None:
    made: list[list[Window]] = []
    for gaps in shards:
        moment, windows = 0.0, []
        for pause, width in gaps:
            windows.append(Window(at=moment, elapsed=moment + pause, width=width, counters=Counter(started=1)))
            moment += pause + width
        made.append(windows)
    merged = merged_by_time(made)
    assert sum(window.counters["started"] for window in merged) == sum(map(len, shards))
    assert all(one.elapsed + one.width <= two.elapsed + 0.011 for one, two in itertools.pairwise(merged))
    reach = max((windows[-1].elapsed + windows[-1].width for windows in made if windows), default=0.0)
    assert sum(window.width for window in merged) <= reach + 0.011 * len(merged)
