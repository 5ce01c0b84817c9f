"""When a broken threshold ends a scenario: never if it would hold in the end, and soon if it cannot."""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import ENDLESS, Event, EventKind, NextRound, Scenario, Stage, Status, ThinkTime, ThinkTimeKind
from orchestrator.load import abort as aborting
from orchestrator.load.abort import ends_scenario
from orchestrator.load.collector import Collector, Progress
from orchestrator.load.histogram import Histogram
from orchestrator.load.threshold_parser import parse
from orchestrator.load.thresholds import Measured, Threshold
from orchestrator.load.timeline import Interval
from tests.support.toy import Ledger, Making, One, toy


class Use(Making):
    name = "use"
    transitions = {"done": "check"}


class Check(Making):
    name = "check"
    outcomes = frozenset({"done", "again"})
    transitions = {"done": "completed", "again": NextRound("use")}


class Provide(One):
    name = "provide"
    transitions = {"done": "use"}


WORKFLOW = toy(Ledger(), Provide(), Use(), Check())


class Clock:
    """A clock that the simulation moves."""

    time = 0.0

    def now(self) -> float:
        return 1e9 + self.time

    def steady(self) -> float:
        return self.time


@attrs.frozen(kw_only=True)
class Service:
    """Behavior of the simulated system. Its first seconds are slow, and some of its calls fail."""

    fails: float = 0.0
    """Share of the instances, or rounds, that fail."""
    retried: float = 0.0
    """Share of the calls that are retried."""
    seconds: float = 0.5
    """Mean duration of a call."""
    slow_until: float = 0.0
    """Until then calls take ten times as long, and half of them are retried."""
    fails_until: float = 0.0
    """Until then everything fails."""
    fails_from: float = float("inf")
    """From then on everything fails."""


class Simulation:
    """A run whose instances exist as events only, as a collector sees it, tick by tick."""

    def __init__(self, scenario: Scenario, service: Service, seed: int) -> None:
        self.scenario, self.service, self.rng, self.clock = scenario, service, Random(seed), Clock()
        self.active = self.number = self.through = 0
        self.collector = Collector(
            WORKFLOW,
            self.clock,
            Progress(elapsed=lambda: self.clock.time, active=lambda: self.active, wanted=lambda: self.wanted),
            Interval(warm_up=scenario.warm_up, length=scenario.length),
            rounds=scenario.rounds != 1,
            arrivals=scenario.is_open,
        )
        self._todo: list[tuple[float, int, Any]] = []
        self._order = 0
        self._admitted_at: dict[int, float] = {}

    @property
    def wanted(self) -> int:
        if self.scenario.is_open or (self.scenario.length is not None and self.clock.time >= self.scenario.length):
            return 0
        return self.scenario.concurrency_at(self.clock.time) - self.through

    def at(self, moment: float, do: Any) -> None:
        self._order += 1
        heappush(self._todo, (moment, self._order, do))

    def tell(self, kind: EventKind, number: int, state: str, **more: Any) -> None:
        self.collector(Event(run_id="r", number=number, kind=kind, at=self.clock.now(), state=state, **more))

    def start(self) -> None:
        number, self.number, self.active = self.number, self.number + 1, self.active + 1
        self.tell(EventKind.STARTED, number, "provide", waited_s=0.0)
        self.call(number, "provide", 0)

    def admit(self) -> None:
        scenario, now = self.scenario, self.clock.time
        if scenario.is_open:
            if self.number < (scenario.total or 0):
                if scenario.due(self.number) <= now:
                    self.start()
                self.at(scenario.due(self.number), self.admit)
            return
        in_time = scenario.length is None or now < scenario.length
        while in_time and self.active < self.wanted and self.number < (scenario.total or 10**9):
            self.start()

    def call(self, number: int, state: str, rounds: int) -> None:
        service, now = self.service, self.clock.time
        slow = now < service.slow_until
        takes = self.rng.expovariate(1 / service.seconds) * (10 if slow else 1)
        if self.rng.random() < (0.5 if slow else service.retried):
            self.at(now + takes, lambda: self.retry(number, state, takes))
            takes *= 2
        self.at(now + takes, lambda: self.answer(number, state, rounds, takes))

    def retry(self, number: int, state: str, takes: float) -> None:
        told = {"failure": "transient", "code": "503", "error": "busy"}
        self.tell(EventKind.RETRY, number, state, handler="run", duration_s=takes, waited_s=0.0, **told)

    def answer(self, number: int, state: str, rounds: int, takes: float) -> None:
        service, now = self.service, self.clock.time
        dead = now < service.fails_until or now >= service.fails_from
        if state == "use" and (dead or self.rng.random() < service.fails):
            told = {"failure": "permanent", "code": "400", "error": "no"}
            self.tell(EventKind.ROLLING_BACK, number, state, handler="run", duration_s=takes, **told)
            self.end(number, "rolled_back")
            return
        again = state == "check" and self.scenario.wants_round(number, rounds + 1, now)
        if state == "check" and self.scenario.replaces and not self.scenario.has_time(number, rounds + 1, now):
            self.through += 1  # no time for a replacement
        target = {"provide": "use", "use": "check", "check": "use" if again else "completed"}[state]
        outcome = "again" if again else "done"
        self.tell(EventKind.MOVED, number, state, handler="run", outcome=outcome, target=target, duration_s=takes, total_s=takes)
        if target == "completed":
            self.end(number, "completed")
        elif again:
            self.at(now + self.scenario.pause(number, rounds + 1), lambda: self.call(number, target, rounds + 1))
        else:
            self.call(number, target, rounds)

    def end(self, number: int, status: str) -> None:
        self.active -= 1
        self.tell(EventKind.ENDED, number, status, outcome=status)
        self.at(self.clock.time + 0.1, self.admit)

    @property
    def measured(self) -> Measured:
        counters = self.collector.counters
        counts = {status: counters[f"ended.{status.value}"] for status in Status}
        return Measured(statistics=self.collector.statistics, counts=counts)

    def play(self, thresholds: list[Threshold]) -> dict[str, float]:
        """Threshold → the moment at which it would have ended the scenario."""
        ended: dict[str, float] = {}
        end = self.scenario.length or 0.0

        def judge() -> None:
            self.collector.tick()
            for threshold in thresholds if self.scenario.length is None or self.clock.time < end else ():
                if threshold.text not in ended and ends_scenario(threshold, self.measured, self.scenario):
                    ended[threshold.text] = self.clock.time

        def every(do: Any, wait: Any) -> None:
            do()
            if self.active or self.clock.time < end - 1e-6:
                self.at(self.clock.time + wait(), lambda: every(do, wait))

        self.admit()
        every(judge, lambda: self.collector.next_tick)
        every(self.collector.sample, lambda: 0.5)
        every(lambda: None if self.scenario.is_open else self.admit(), lambda: 0.5)
        while self._todo:
            moment, _, do = heappop(self._todo)
            self.clock.time = max(self.clock.time, moment)
            do()
        self.collector.tick()
        return ended


THRESHOLDS = [
    parse(text, WORKFLOW)
    for text in (
        *(f"failed < {share}%" for share in (0.5, 1, 2, 5, 10, 50)),
        *(f"completed > {share}%" for share in (50, 90, 95, 98, 99, 99.5)),
        *(f"round.failed < {share}%" for share in (0.5, 1, 5, 20)),
        *(f"use.retried < {share}%" for share in (1, 2, 5, 10, 30)),
        *(f"errors < {share}%" for share in (1, 5, 10)),
        *(f"{name}.p{q} < {s}s" for name in ("use", "instance") for q in (50, 95, 99) for s in (0.5, 1, 2, 4, 8)),
        *(f"{name}.rate > {rate}/s" for name in ("use", "round", "instance") for rate in (0.05, 0.2, 0.5, 1, 2, 5, 10)),
        *(f"use.rate < {rate}/s" for rate in (0.5, 1, 2, 5, 10)),
        "failed < 3",
        "errors < 20",
        "use.max < 5s",
        "use.min > 1ms",
        "use.count > 50",
        "completed > 5",
        "late < 1%",
    )
]


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    duration = draw(st.floats(15, 120))
    shape = draw(st.sampled_from(["number", "time", "stages", "soak", "ramped soak", "rounds", "rate", "rate stages"]))
    warm_up = draw(st.sampled_from([0.0, 0.0, 5.0, 12.0]))
    users = draw(st.integers(1, 20))
    think_time = draw(st.sampled_from([None, ThinkTime(ThinkTimeKind.CONSTANT, 3.0), ThinkTime(ThinkTimeKind.EXPONENTIAL, 2.0)]))
    ramp = (Stage(duration / 3, users), Stage(duration / 3, users), Stage(duration / 3, 0))
    parts: dict[str, dict[str, Any]] = {
        "number": {"instances": draw(st.integers(1, 150)), "concurrency": users},
        "time": {"duration": duration, "concurrency": users},
        "stages": {"stages": ramp},
        "soak": {"duration": duration, "concurrency": users, "rounds": ENDLESS, "think_time": think_time},
        "ramped soak": {"stages": ramp, "rounds": ENDLESS, "think_time": think_time},
        "rounds": {"duration": duration, "concurrency": users, "rounds": 4, "think_time": think_time},
        "rate": {"rate": draw(st.floats(0.2, 5)), "duration": duration},
        "rate stages": {"rate_stages": ramp},
    }
    return Scenario(**parts[shape], warm_up=warm_up if shape != "number" else 0.0)


@st.composite
def services(draw: st.DrawFn) -> Service:
    return Service(
        fails=draw(st.sampled_from([0.0, 0.002, 0.01, 0.05])),
        retried=draw(st.sampled_from([0.0, 0.01, 0.05])),
        seconds=draw(st.sampled_from([0.05, 0.3, 1.0])),
        slow_until=draw(st.sampled_from([0.0, 2.0])),
        fails_until=draw(st.sampled_from([0.0, 1.5])),
    )


@settings(derandomize=True, max_examples=50)
@given(scenarios(), services(), st.integers(0, 10**6))
def test_a_run_that_keeps_its_threshold_is_never_ended_by_it(scenario: Scenario, service: Service, seed: int) -> None:
    run = Simulation(scenario, service, seed)
    ended = run.play(THRESHOLDS)
    wrongly = {t.text: ended[t.text] for t in THRESHOLDS if t.text in ended and t.judge(run.measured).holds}
    assert not wrongly


SOAK = Scenario(duration=600.0, concurrency=10, rounds=ENDLESS, think_time=ThinkTime(ThinkTimeKind.CONSTANT, 1.0))
BROKEN = {
    "everything fails": (SOAK, Service(fails=1.0), "failed < 1%", 16),
    "rounds fail": (SOAK, Service(fails=0.3), "round.failed < 5%", 40),
    "everything fails from the middle on": (SOAK, Service(fails_from=300.0), "round.failed < 1%", 320),
    "too few complete": (Scenario(duration=600.0, concurrency=10), Service(fails=0.1), "completed > 99%", 60),
    "too slow": (SOAK, Service(seconds=2.0), "use.p95 < 500ms", 20),
    "too seldom": (SOAK, Service(seconds=2.0), "round.rate > 8/s", 90),
    "arrivals that are answered too seldom": (Scenario(rate=2.0, duration=600.0), Service(), "use.rate > 5/s", 60),
    "too often": (SOAK, Service(seconds=0.1), "use.rate < 1/s", 150),
    "one that is slower than ever allowed": (SOAK, Service(seconds=2.0), "use.max < 1s", 10),
    "too many of a known number": (Scenario(instances=100, concurrency=5), Service(fails=1.0), "failed < 2%", 6),
    "too many retries": (SOAK, Service(retried=0.3), "use.retried < 5%", 30),
}


@pytest.mark.parametrize(("scenario", "service", "text", "until"), BROKEN.values(), ids=list(BROKEN))
def test_a_run_that_cannot_keep_its_threshold_is_ended_soon(scenario, service, text, until) -> None:
    ended = Simulation(scenario, service, 1).play([parse(text, WORKFLOW)])
    assert text in ended
    assert ended[text] <= until


def judged(counts: dict[Status, int], *texts: str, scenario: Scenario) -> list[bool]:
    run = Simulation(scenario, Service(), 1)
    measured = Measured(statistics=run.collector.statistics, counts=counts)
    return [ends_scenario(parse(text, WORKFLOW), measured, scenario) for text in texts]


def test_shares_are_of_ended_instances_only() -> None:
    counts = {Status.COMPLETED: 99, Status.ROLLED_BACK: 1, Status.RUNNING: 100}
    run = Simulation(SOAK, Service(), 1)
    measured = Measured(statistics=run.collector.statistics, counts=counts)
    assert parse("completed > 98%", WORKFLOW).judge(measured).value == "99%"
    assert parse("failed < 2%", WORKFLOW).judge(measured).value == "1%"
    assert parse("leftovers < 1%", WORKFLOW).judge(measured).value == "0%"


def test_of_a_known_number_the_last_failure_that_is_allowed_ends_nothing_and_the_next_one_does() -> None:
    scenario = Scenario(instances=200, concurrency=5)
    texts = ("failed <= 1%", "failed < 1%", "completed >= 99%", "completed > 99%")
    assert judged({Status.ROLLED_BACK: 1}, *texts, scenario=scenario) == [False] * 4
    assert judged({Status.ROLLED_BACK: 2}, *texts, scenario=scenario)[:2] == [False, True]
    assert judged({Status.ROLLED_BACK: 3}, *texts, scenario=scenario) == [True] * 4


def test_a_number_that_is_to_be_exceeded_ends_nothing_and_one_that_was_exceeded_does() -> None:
    counts = {Status.ROLLED_BACK: 5, Status.COMPLETED: 10}
    texts = ("completed > 1000", "failed < 6", "failed < 5", "missed < 1", "use.count > 10")
    assert judged(counts, *texts, scenario=SOAK) == [False, False, True, False, False]


@given(st.integers(0, 5000), st.integers(0, 5000), st.floats(0, 1))
def test_allowed_values_are_no_evidence(bad: int, more: int, allowed: float) -> None:
    whole = bad + more
    if bad <= allowed * whole or whole < aborting.LEAST:
        assert not aborting._has_evidence(bad, whole, allowed)


def test_evidence_takes_ten_of_them_and_grows_with_their_number() -> None:
    assert not aborting._has_evidence(9, 9, 0.01)
    assert aborting._has_evidence(10, 10, 0.01)
    assert not aborting._has_evidence(1, 20, 0.01)  # 5 %, by chance
    assert not aborting._has_evidence(5, 100, 0.01)
    assert aborting._has_evidence(50, 1000, 0.01)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50), st.integers(1, 10**9))
def test_a_histogram_tells_how_many_are_certainly_above_and_below(values: list[int], limit: int) -> None:
    histogram = Histogram()
    histogram.record(values)
    above, below = sum(value > limit for value in values), sum(value < limit for value in values)
    assert histogram.above(limit) <= above <= histogram.above(int(limit * 0.98) - 1)
    assert histogram.below(limit) <= below <= histogram.below(int(limit * 1.02) + 2)


def test_arrivals_that_start_more_slowly_than_they_come_end_a_scenario_and_those_that_are_made_up_for_do_not() -> None:
    scenario = Scenario(rate=10.0, duration=100.0, graceful_stop=30.0)
    missed = parse("missed < 1%", WORKFLOW)

    def ends(*starts: int, scenario: Scenario = scenario) -> bool:
        """Starts in each two seconds."""
        run = Simulation(scenario, Service(), 1)
        for number in starts:
            run.clock.time += 2.0
            run.collector.counters["started"] += number
            run.collector.tick()
        at = scenario.arrivals(run.clock.time, sum(starts))
        measured = attrs.evolve(run.measured, counts={Status.RUNNING: sum(starts)}, missed=at.overdue, due=at.due)
        return ends_scenario(missed, attrs.evolve(measured, expected_missed=at.expected_missed), scenario)

    assert ends(*[5] * 6)
    assert not ends(*[5] * 4)  # eight seconds are too short for a judgment
    assert not ends(*[18] * 8)  # 9/s is enough with the graceful stop
    assert not ends(0, 0, 0, 0, 0, 0, 0, 0)  # a stall
    assert not ends(*[0] * 8, 40)  # after which the starts catch up
    assert not ends(*[5] * 6, scenario=Scenario(rate_stages=(Stage(100, 10),)))
