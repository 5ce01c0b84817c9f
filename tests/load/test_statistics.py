"""Histograms, windows, and their collector."""

from __future__ import annotations

import itertools
import tracemalloc
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import Back, Event, EventKind, NextRound, Repeat, Segment, State, done
from orchestrator.load import collector as collecting
from orchestrator.load.collector import Collector
from orchestrator.load.statistics import ErrorKey, Latency, Statistics, Window, merged_by_time
from orchestrator.storage.base import StoredWindow
from tests.support.toy import Ledger, Making, Three, toy

NOW = 1_000_000.0


class Clock:
    """A clock that a test moves."""

    time = 0.0

    def now(self) -> float:
        return NOW + self.time

    def steady(self) -> float:
        return self.time


class Begin(Making):
    transitions = {"done": "sign"}


class Sign(Making):
    outcomes = frozenset({"done", "expired"})
    transitions = {"done": "check", "expired": Back("sign", at_most=3)}


class Check(Making):
    outcomes = frozenset({"done", "again"})
    transitions = {"done": "completed", "again": NextRound("sign")}
    rate_group = "checks"


WORKFLOW = toy(Ledger(), Begin(), Sign(), Check(), segments=(Segment("signing", "sign", "check"),))


class Setting:
    """A collector with its clock."""

    def __init__(self, *, epoch: int = 1, **more) -> None:
        self.epoch = epoch
        self.clock = Clock()
        self.active = 0
        self.rows: dict[int, bytes] = {}
        self.collector = Collector(WORKFLOW, self.clock, elapsed=lambda: self.clock.time, active=lambda: self.active, **more)

    def tell(self, kind, number=0, state="sign", **more) -> None:
        self.collector(Event(run_id="r", number=number, kind=kind, at=self.clock.now(), state=state, **more))

    def move(self, state, outcome="done", target="", *, total=0.1, handler="run", number=0, **more) -> None:
        self.clock.time += total
        self.tell(
            EventKind.MOVED,
            number,
            state,
            outcome=outcome,
            target=target,
            handler=handler,
            duration_s=total,
            total_s=total,
            **more,
        )

    def tick(self) -> None:
        rows, gone = self.collector.tick()
        self.rows |= rows
        for place in gone:
            del self.rows[place]

    def stored(self, shard: int = 0) -> list[StoredWindow]:
        return [StoredWindow(shard, self.epoch, seq, body) for seq, body in sorted(self.rows.items())]

    def read(self) -> Statistics:
        return Statistics.of(self.stored())


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


def test_a_state_counts_from_when_it_was_due_and_a_call_by_itself() -> None:
    at = Setting()
    at.tell(EventKind.STARTED, state="begin", waited_s=0.0)
    at.tell(EventKind.RETRY, state="begin", handler="run", duration_s=0.2, failure="transient", code="503", error="no")
    at.move("begin", target="sign", total=1.5)
    at.tick()
    statistics = at.read()
    assert statistics.latency("begin").max == pytest.approx(1.5, rel=0.01)
    assert statistics.latency("begin.attempt").count == 2
    assert statistics.latency("begin.attempt").min == pytest.approx(0.2, rel=0.01)
    assert statistics.total.counters["begin.retried"] == 1
    assert statistics.total.errors[ErrorKey("begin", "transient", "503")].example == "r-0: no"


def test_a_span_goes_over_ways_back_and_begins_anew_with_each_round() -> None:
    at = Setting()
    at.tell(EventKind.STARTED, state="begin", waited_s=0.0)
    at.move("begin", target="sign")
    at.move("sign", outcome="expired", target="sign", total=1.0)
    at.move("sign", target="check", total=1.0)
    at.move("check", outcome="again", target="sign", total=1.0)
    at.clock.time += 50  # the pause is excluded
    at.move("sign", target="check", total=0.5)
    at.move("check", target="completed", total=0.5)
    at.tell(EventKind.ENDED, state="completed", outcome="completed")
    at.tick()
    statistics = at.read()
    span = statistics.latency("signing")
    assert span.count == 2
    assert (span.min, span.max) == (pytest.approx(1.0, rel=0.01), pytest.approx(3.0, rel=0.01))
    assert statistics.latency("instance").max == pytest.approx(54.1, rel=0.01)
    assert statistics.total.counters["ended.completed"] == 1
    assert at.collector.place == {}


def test_a_late_start_counts_from_when_it_was_due() -> None:
    at = Setting(arrivals=True)
    at.tell(EventKind.STARTED, state="begin", waited_s=3.0)
    for state, target in (("begin", "sign"), ("sign", "check"), ("check", "completed")):
        at.move(state, target=target)
    at.tick()
    statistics = at.read()
    assert statistics.latency("start_lag").max == pytest.approx(3, rel=0.01)
    assert statistics.latency("instance").max == pytest.approx(3.3, rel=0.01)
    assert statistics.latency("begin").max == pytest.approx(0.1, rel=0.01), "the lag is no latency of the first state"
    assert statistics.total.counters["late"] == 1


def test_waiting_for_a_rate_is_measured_apart() -> None:
    at = Setting()
    at.move("check", target="completed", waited_s=0.7)
    at.tick()
    assert at.read().latency("wait.checks").max == pytest.approx(0.7, rel=0.01)


def test_the_warm_up_ends_with_a_window_of_its_own() -> None:
    at = Setting(warm_up=3.0)
    for _ in range(4):
        at.clock.time += at.collector.next_tick
        at.collector.tallies["begin"].totals.append(at.clock.time)
        at.tick()
    statistics = at.read()
    assert [(w.elapsed, w.width, w.warm) for w in statistics.windows] == [
        (0.0, 2.0, True),
        (2.0, 1.0, True),
        (3.0, 2.0, False),
        (5.0, 2.0, False),
    ]
    assert statistics.latency("begin").count == 2
    assert statistics.total.width == 4


def ticks(at: Setting, until: float) -> None:
    while at.clock.time < until - 0.001:
        at.clock.time += at.collector.next_tick
        at.collector.tallies["begin"].totals.append(at.clock.time)
        at.tick()


def test_rates_and_counts_cover_the_measured_interval_and_percentiles_the_graceful_stop_too() -> None:
    at = Setting(warm_up=3.0, length=10.0)
    ticks(at, 16.0)
    for statistics in (at.read(), at.collector.statistics):
        flags = [(w.elapsed, w.width, w.warm, w.over) for w in statistics.windows]
        assert flags == [
            (0.0, 2.0, True, False),
            (2.0, 1.0, True, False),
            (3.0, 2.0, False, False),
            (5.0, 2.0, False, False),
            (7.0, 2.0, False, False),
            (9.0, 1.0, False, False),
            (10.0, 2.0, False, True),
            (12.0, 2.0, False, True),
            (14.0, 2.0, False, True),
        ]
        assert statistics.seconds == 7
        assert statistics.ended("begin") == 4
        assert statistics.rate("begin") == pytest.approx(4 / 7)
        latency = statistics.latency("begin")
        assert latency is not None
        assert (latency.count, latency.max) == (7, pytest.approx(16, rel=0.01))
        assert statistics.measured().active[1] < statistics.total.active[1]


def test_windows_of_the_measured_interval_and_of_the_graceful_stop_are_never_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "WINDOWS", 10)
    at = Setting(warm_up=25.0, length=75.0)
    ticks(at, 300.0)
    statistics = at.read()
    assert statistics.seconds == pytest.approx(50)
    assert statistics.ended("begin") == 25
    assert statistics.rate("begin") == pytest.approx(0.5)
    assert len(statistics.windows) <= 40


def test_the_measured_interval_of_a_scenario_that_is_ended_early_ends_there() -> None:
    aborted = False
    at = Setting(length=100.0, aborted=lambda: aborted)
    ticks(at, 5.0)
    aborted = True
    ticks(at, 12.0)
    statistics = at.read()
    assert [(w.elapsed, w.over) for w in statistics.windows][-4:] == [(4.0, False), (6.0, True), (8.0, True), (10.0, True)]
    assert statistics.seconds == 6
    assert statistics.ended("begin") == 3


def test_a_process_that_goes_on_in_the_graceful_stop_measures_nothing_more() -> None:
    first = Setting(length=4.0)
    ticks(first, 4.0)
    second = Setting(length=4.0, earlier=first.stored(), epoch=2)
    second.clock.time = 4.0
    ticks(second, 8.0)
    merged = Statistics.of([*first.stored(), *second.stored()])
    assert (merged.seconds, merged.ended("begin"), merged.total.counters) == (4, 2, merged.total.counters)
    assert second.collector.statistics.seconds == 4


def test_what_is_kept_is_bounded_and_nothing_of_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "WINDOWS", 10)
    at, most = Setting(), 0
    for number in range(500):
        at.clock.time += 2.0
        at.collector.tallies["begin"].totals.append(0.001 * (number + 1))
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
            for tally in at.collector.tallies.values():
                tally.totals.extend(rng.lognormvariate(-3, 1) for _ in range(100))
                tally.handlers["run"].extend(tally.totals)
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


def test_errors_of_too_many_kinds_are_counted_together() -> None:
    window = Window(at=0.0, elapsed=0.0)
    for number in range(1000):
        window.count_error(ErrorKey("one", "transient", str(number)), "x")
    assert len(window.errors) <= 201
    assert sum(tally.count for tally in window.errors.values()) == 1000


def test_names_of_the_statistics_are_not_for_states() -> None:
    class Instance(State):
        transitions = {"done": "completed"}
        repeat = Repeat.FREELY

        async def run(self, step):
            return done(step.context)

    with pytest.raises(Exception, match="'instance' is reserved for the engine"):
        toy(Ledger(), Instance())
    with pytest.raises(Exception, match="the segment 'whole' names an unknown state 'four'"):
        toy(Ledger(), Three(), segments=(Segment("whole", "three", "four"),))


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


def test_the_memory_of_this_process_is_measured() -> None:
    before = collecting.resident_bytes()
    held = b"x" * 50_000_000
    assert before > 1_000_000
    assert collecting.resident_bytes() - before > 0.8 * len(held)


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
