"""Statistics that the collector makes of events."""

from __future__ import annotations

import pytest

from orchestrator import EventKind, Repeat, Segment, State, done
from orchestrator.load import timeline
from orchestrator.load.collector import resident_bytes
from orchestrator.load.statistics import Statistics
from orchestrator.load.window import ErrorKey, Window
from tests.support.measuring import Setting, ticks
from tests.support.toy import Ledger, Three, toy


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
    assert at.collector.recorder.place == {}


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
        at.collector.recorder.tallies["begin"].totals.append(at.clock.time)
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
    monkeypatch.setattr(timeline, "WINDOWS", 10)
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


def test_the_memory_of_this_process_is_measured() -> None:
    before = resident_bytes()
    held = b"x" * 50_000_000
    assert before > 1_000_000
    assert resident_bytes() - before > 0.8 * len(held)
