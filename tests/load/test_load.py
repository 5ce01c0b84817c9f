"""Runs by scenario: arrivals, rounds, stages, the end of the time, rate groups, thresholds, and what a resume continues."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import attrs
import pytest

from orchestrator import (
    ENDLESS,
    ConfigurationError,
    EventKind,
    NextRound,
    OnSuccess,
    Options,
    Outcome,
    PermanentError,
    Quota,
    RunStatus,
    Scenario,
    SettingError,
    Stage,
    Status,
    ThinkTime,
    ThinkTimeKind,
    ThrottledError,
    TransientError,
    Vault,
    cleanup,
    record_exchange,
    resume,
    start,
)
from orchestrator.clock import SystemClock, wait_until
from orchestrator.driving.admission import Admission
from orchestrator.driving.limits import RateLimits
from orchestrator.inspection.details import details_of
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.load.estimate import check_quotas, check_time, estimate
from orchestrator.load.statistics import Statistics
from orchestrator.report import html, text
from orchestrator.report import json as json_report
from orchestrator.report.csv import tables
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.verdict import exit_code
from orchestrator.storage.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.support.toy import Ledger, Making, Two, fast, toy


class Provide(Making):
    """Creates one object, within a rate."""

    transitions = {"done": "use"}
    rate_group = "configuration"


class Use(Making):
    transitions = {"done": "check"}
    rate_group = "sign_on"


class Check(Making):
    outcomes = frozenset({"done", "again"})
    transitions = {"done": "completed", "again": NextRound("use")}

    async def run(self, step: Any) -> Outcome[Any]:
        outcome = await super().run(step)
        return Outcome("again", outcome.context) if step.another_round else outcome


def rounds(ledger: Ledger, **more: Any) -> Any:
    return toy(ledger, Provide(), Use(), Check(), **more)


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    return MemoryStore()


async def drive(workflow: Any, store: MemoryStore, vault: Vault, scenario: Scenario, **more: Any) -> Any:
    # The times of a scenario are tested in real time.
    options = fast(vault) if scenario.length is None else Options(vault=vault)
    async with start(workflow, store=store, options=options, scenario=scenario, **more) as run:
        return await run.wait()


async def statistics(store: MemoryStore, run_id: str) -> Statistics:
    return Statistics.of(await store.statistics(run_id))


async def test_an_instance_goes_round_as_often_as_the_scenario_says(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    result = await drive(rounds(ledger), store, vault, Scenario(rounds=4))
    assert result.counts == {Status.COMPLETED: 1}
    assert [ledger.calls.count(f"run {name}") for name in ("provide", "use", "check")] == [1, 4, 4]
    assert (await statistics(store, result.run_id)).total.counters["check.moved.again"] == 3


async def test_a_soak_goes_round_until_the_time_is_over_and_tears_down(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    scenario = Scenario(concurrency=3, duration=0.4, rounds=ENDLESS, think_time=ThinkTime(ThinkTimeKind.UNIFORM, 0.01, 0.03))
    result = await drive(rounds(ledger), store, vault, scenario, on_success="teardown")
    assert result.counts == {Status.COMPLETED: 3}
    assert result.status is RunStatus.FINISHED
    assert ledger.calls.count("run provide") == 3
    assert ledger.calls.count("run use") > 9
    assert not [name for name in ledger.existing if name.startswith("provide")]


async def test_a_state_that_goes_round_unasked_has_a_bug(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()

    class Greedy(Check):
        name = "check"

        async def run(self, step: Any) -> Outcome[Any]:
            return Outcome("again", step.context)

    result = await drive(toy(ledger, Provide(), Use(), Greedy()), store, vault, Scenario(rounds=2))
    assert result.counts == {Status.FAILED: 1}
    assert ledger.calls.count("run use") == 2


async def test_a_workflow_without_rounds_refuses_them(store: MemoryStore, vault: Vault) -> None:
    with pytest.raises(SettingError, match="rounds: the workflow 'toy' has no rounds"):
        await drive(toy(Ledger()), store, vault, Scenario(rounds=2))
    assert (await store.runs()).runs == ()


async def test_arrivals_come_by_the_clock(store: MemoryStore, vault: Vault) -> None:
    """With responses after 60 ms and 100 arrivals a second, about six instances run at once."""
    ledger, most, now = Ledger(), 0, 0

    async def slow(step: Any) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await anyio.sleep(0.06)
        now -= 1

    ledger.script = {"run one": [slow] * 30}
    result = await drive(toy(ledger), store, vault, Scenario(rate=100.0, duration=0.3, concurrency=50))
    assert result.counts == {Status.COMPLETED: 30}
    assert 3 <= most <= 20
    measured = await statistics(store, result.run_id)
    assert measured.latency("start_lag").count == 30


async def test_an_arrival_that_has_to_wait_is_late_and_counts_from_when_it_was_due(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()

    async def stall(step: Any) -> None:
        await anyio.sleep(0.4)

    ledger.script = {"run one": [stall]}
    result = await drive(toy(ledger), store, vault, Scenario(rate=100.0, instances=10, concurrency=1))
    assert result.counts == {Status.COMPLETED: 10}
    measured = await statistics(store, result.run_id)
    assert measured.total.counters["late"] == 9
    assert measured.latency("instance").at(50) > 0.3


async def test_arrivals_that_never_get_their_turn_are_missed_and_said_to_be(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()

    async def hang(step: Any) -> None:
        await anyio.sleep(0.35)

    ledger.script = {"run one": [hang]}
    scenario = Scenario(rate=100.0, duration=0.2, graceful_stop=0.05, concurrency=1)
    result = await drive(toy(ledger), store, vault, scenario)
    assert result.status is RunStatus.FINISHED
    assert result.total == 20
    assert result.counts[Status.PENDING] == 19
    instance_events = await store.events(result.run_id, 0)
    assert [event.code for event in instance_events if event.kind is EventKind.ROLLING_BACK] == ["cut_off"]
    assert ledger.existing == []


async def test_concurrency_follows_the_stages(store: MemoryStore, vault: Vault) -> None:
    ledger, now, seen = Ledger(), 0, []

    async def work(step: Any) -> None:
        nonlocal now
        now += 1
        seen.append(now)
        await anyio.sleep(0.02)
        now -= 1

    ledger.script = {"run one": [work] * 1000}
    scenario = Scenario(stages=(Stage(0.3, 6), Stage(0.2, 0)))
    result = await drive(toy(ledger), store, vault, scenario)
    assert set(result.counts) == {Status.COMPLETED}
    assert max(seen[:3]) <= 3
    assert 4 <= max(seen) <= 7


async def test_what_is_cut_off_is_kept_if_the_policy_says_so(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()

    async def hang(step: Any) -> None:
        await anyio.sleep(0.2)

    ledger.script = {"run one": [hang]}
    scenario = Scenario(concurrency=1, duration=0.05, graceful_stop=0.05)
    result = await drive(toy(ledger), store, vault, scenario, on_failure="keep")
    assert result.counts == {Status.FAILED: 1}
    assert ledger.existing == ["one:0"]


async def test_an_interrupted_soak_goes_on_for_the_time_that_is_left(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    workflow = rounds(ledger)
    scenario = Scenario(concurrency=2, duration=1.2, rounds=ENDLESS, think_time=ThinkTime(ThinkTimeKind.CONSTANT, 0.02))
    clock = SystemClock()
    options = fast(vault)
    options = type(options)(vault=vault, clock=clock)
    async with start(workflow, store=store, scenario=scenario, options=options) as run:
        await anyio.sleep(0.6)
        run.stop()
        result = await run.wait()
    assert result.interrupted
    assert result.counts == {Status.SUSPENDED: 2}
    spent = (await statistics(store, result.run_id)).elapsed
    assert 0.5 < spent < 1.1
    began = clock.steady()
    async with resume(workflow, result.run_id, store=store, options=options) as run:
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.COMPLETED: 2}
    assert clock.steady() - began < 1.1
    measured = await statistics(store, result.run_id)
    assert measured.elapsed == pytest.approx(1.2, abs=0.3)
    assert ledger.calls.count("run provide") == 2


async def test_an_interrupted_scenario_admits_the_remaining_instances_and_counts_add_up(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    async with start(toy(ledger), store=store, options=fast(vault), scenario=Scenario(instances=40, concurrency=4)) as run:
        ended = 0
        async for event in run.events():
            ended += event.kind is EventKind.ENDED
            if ended == 10:
                run.stop()
        result = await run.wait()
    assert result.interrupted
    assert result.total == 40
    async with resume(toy(ledger), result.run_id, store=store, options=fast(vault)) as run:
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 40}
    assert sorted(ledger.existing) == sorted(f"{state}:{n}" for state in ("one", "two", "three") for n in range(40))
    measured = await statistics(store, result.run_id)
    assert measured.latency("three").count == 40
    assert measured.total.counters["ended.completed"] == 40


async def test_a_run_on_the_instances_of_another_makes_and_removes_nothing(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    kept = await drive(rounds(ledger), store, vault, Scenario(instances=3, concurrency=3))
    existing = sorted(ledger.existing)
    ledger.calls.clear()
    scenario = Scenario(instances=5, concurrency=2, rounds=2, reuse=kept.run_id)
    result = await drive(rounds(ledger), store, vault, scenario, on_success="teardown")
    assert result.counts == {Status.COMPLETED: 5}
    assert "run provide" not in ledger.calls
    assert ledger.calls.count("run use") == 10
    assert set(existing) <= set(ledger.existing)
    assert ledger.opening is not None
    assert ledger.opening.run_id == kept.run_id


async def test_there_must_be_something_to_use(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    gone = await drive(rounds(ledger), store, vault, Scenario(instances=2), on_success="teardown")
    with pytest.raises(ConfigurationError, match="has no completed instance that was kept"):
        await drive(rounds(ledger), store, vault, Scenario(reuse=gone.run_id))


async def test_a_broken_threshold_ends_the_scenario_if_that_is_wanted(
    store: MemoryStore, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.load.abort.SETTLED_S", 0.0)
    ledger = Ledger(script={"run two": [PermanentError("no")] * 10_000})
    scenario = Scenario(concurrency=2, duration=30.0)
    workflow = toy(ledger)
    async with start(
        workflow, store=store, options=fast(vault), scenario=scenario, thresholds=["failed < 1%"], abort=True
    ) as run:
        result = await run.wait()
        assert run.aborted is not None
        assert "failed < 1%" in run.aborted
    assert result.status is RunStatus.FINISHED
    assert set(result.counts) == {Status.ROLLED_BACK}
    assert ledger.existing == []


async def test_a_threshold_that_is_not_understood_is_refused_before_anything(store: MemoryStore, vault: Vault) -> None:
    with pytest.raises(SettingError, match=r"threshold: 'fuor\.p95 < 1s': nothing is measured as 'fuor'"):
        await drive(toy(Ledger()), store, vault, Scenario(), thresholds=["fuor.p95 < 1s"])
    assert (await store.runs()).runs == ()


async def test_a_clean_up_measures_nothing(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    result = await drive(toy(ledger), store, vault, Scenario(instances=3))
    before = await store.statistics(result.run_id)
    async with cleanup(toy(ledger), result.run_id, store=store, options=fast(vault)) as run:
        await run.wait()
    assert await store.statistics(result.run_id) == before
    assert ledger.existing == []


async def test_a_429_slows_the_whole_group_and_no_other(store: MemoryStore, vault: Vault) -> None:
    ledger, began = Ledger(), {}
    clock = SystemClock()

    def note(name: str) -> Any:
        def noted(step: Any) -> None:
            began.setdefault(name, []).append(clock.steady())

        return noted

    ledger.script = {
        "run provide": [ThrottledError("slow down", retry_after=6.0), *[note("provide")] * 10],
        "run use": [note("use")] * 10,
    }
    at = clock.steady()
    result = await drive(rounds(ledger), store, vault, Scenario(instances=5, concurrency=5))
    assert result.counts == {Status.COMPLETED: 5}
    # Six seconds of the fast clock are 0.2 s.
    assert sum(moment - at > 0.15 for moment in began["provide"]) >= 4
    measured = await statistics(store, result.run_id)
    assert measured.latency("wait.configuration").count >= 4
    assert measured.latency("wait.sign_on") is None


async def test_a_pause_moves_the_turns_of_those_who_wait_in_their_order() -> None:
    clock = ManualClock()
    limits = RateLimits({"g": 2.0}, clock)
    assert await limits.admit("g") == 0
    assert await limits.admit("g") == 0.5
    limits.slow_down("g", 10)
    limits.slow_down("g", 4)  # a shorter one changes nothing
    assert await limits.admit("g") == pytest.approx(10.5, abs=0.51)
    assert await limits.admit("g") == pytest.approx(0.5)
    assert await limits.admit("other") == 0


async def test_a_slot_that_is_given_back_goes_to_the_next_caller_only() -> None:
    """At the cut of a scenario many instances stop at once and roll back: the rate holds all the same."""
    clock, leave = SystemClock(), anyio.Event()
    limits = RateLimits({"g": 100.0}, clock)
    began: list[float] = []

    async def stay() -> None:
        await limits.admit("g")
        began.append(clock.steady())

    async def come_back() -> None:
        await limits.admit("g", leave=leave)
        await stay()

    first = clock.steady()
    await limits.admit("g")
    async with anyio.create_task_group() as tasks:
        for index in range(16):
            tasks.start_soon(come_back if index % 2 else stay)
        await anyio.sleep(0)
        leave.set()
    # One every 10 ms after the first: twice the rate would have finished in half the time. A late start delays the others, too.
    assert len(began) == 16
    assert max(began) - first >= 16 * 0.01 - 0.001


async def test_a_turn_that_was_given_back_does_not_start_inside_a_later_pause() -> None:
    clock, leave = ManualClock(), anyio.Event()
    limits = RateLimits({"g": 1.0}, clock)
    leave.set()
    for _ in range(3):
        await limits.admit("g", leave=leave)  # the slots at 1 and 2 s are given back
    clock.time += 1.5
    limits.slow_down("g", 10)
    assert await limits.admit("g") >= 10


@attrs.define
class EarlyClock:
    """Timers that fire a millisecond early, as those of uvloop do; it counts the waits."""

    time: float = 100.0
    waits: list[float] = attrs.field(factory=list)

    def now(self) -> float:
        return self.time

    def steady(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.deadline(seconds)

    def deadline(self, seconds: float) -> float:
        self.waits.append(seconds)
        self.time += seconds - 0.001 if seconds > 0.002 else seconds
        return -math.inf

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Any:
        raise NotImplementedError


async def test_a_wait_within_a_limit_is_no_longer_than_that_though_timers_go_off_early() -> None:
    clock = EarlyClock()
    limits = RateLimits({"g": 0.01}, clock)
    await limits.admit("g")
    assert await limits.admit("g", leave=anyio.Event(), until=clock.time + 5) == pytest.approx(5)
    assert sum(clock.waits) == pytest.approx(5.001)
    assert await limits.admit("g", leave=anyio.Event()) == pytest.approx(95)


async def test_a_wait_is_never_short_though_timers_go_off_early() -> None:
    clock = EarlyClock()
    until = clock.time + 2
    await wait_until(clock, until, anyio.Event())
    assert clock.time >= until


async def test_a_group_without_a_rate_comes_back_one_by_one() -> None:
    clock = ManualClock()
    limits = RateLimits({}, clock)
    assert not limits.limits("g")
    limits.slow_down("g", 1000)
    waited = [await limits.admit("g") for _ in range(3)]
    assert waited[0] == pytest.approx(60)  # a request for more than a minute is cut to a minute
    assert 0 < waited[1] < 0.1


def test_an_estimate_names_the_group_that_holds_a_run_up_most() -> None:
    workflow = rounds(Ledger())
    found = estimate(workflow, Scenario(instances=100), {"configuration": 2.0}, OnSuccess.TEARDOWN)
    assert found is not None
    assert (found.seconds, found.calls) == (100, 2)
    assert "100 instances with 2 configuration attempts each, at 2/s: at least 1m40s" in str(found)
    assert estimate(workflow, Scenario(instances=100), {}, OnSuccess.KEEP) is None
    assert estimate(workflow, Scenario(instances=100, reuse="261123-000000"), {"configuration": 2.0}, OnSuccess.KEEP) is None


def test_what_cannot_be_set_up_in_its_time_is_refused() -> None:
    scenario = Scenario(concurrency=50, duration=10.0, rounds=ENDLESS)
    with pytest.raises(SettingError, match=r"duration: 10s is too short: 50 instances with 1 configuration attempts each"):
        check_time(rounds(Ledger()), scenario, {"configuration": 2.0})
    check_time(rounds(Ledger()), scenario, {"configuration": 20.0})


async def test_what_the_other_side_has_no_room_for_is_refused(store: MemoryStore, vault: Vault) -> None:
    async def room(services: Any) -> dict[str, Quota]:
        return {"application": Quota(990, 1000)}

    workflow = toy(Ledger(), quotas=room)
    with pytest.raises(ConfigurationError, match="990 of at most 1000 applications exist, and the scenario needs up to 11 more"):
        await drive(workflow, store, vault, Scenario(instances=11))
    assert (await store.runs()).runs == ()
    result = await drive(workflow, store, vault, Scenario(instances=11, concurrency=5), on_success="teardown")
    assert result.counts == {Status.COMPLETED: 11}
    check_quotas({"application": Quota(990, 1000)}, Scenario(instances=99, reuse="261123-000000"), OnSuccess.KEEP)


def test_a_second_place_for_rounds_is_refused() -> None:
    class Other(Two):
        name = "use"
        outcomes = frozenset({"done", "back"})
        transitions = {"done": "check", "back": NextRound("provide")}

    with pytest.raises(Exception, match=r"only one transition may be a NextRound, not use\.back and check\.again"):
        toy(Ledger(), Provide(), Other(), Check())


async def test_an_interrupted_instance_is_timed_without_the_interruption(store: MemoryStore, vault: Vault) -> None:
    clock = SteppedClock()

    def work(step: Any) -> None:
        clock.time += 0.2

    def work_and_stop(step: Any) -> None:
        work(step)
        run.stop()

    ledger = Ledger(script={"run one": [work_and_stop], "run two": [work]})
    options = Options(vault=vault, clock=clock, lease_s=3600)
    async with start(toy(ledger), store=store, scenario=Scenario(), options=options) as run:
        result = await run.wait()
    assert result.counts == {Status.SUSPENDED: 1}
    clock.time += 500
    async with resume(toy(ledger), result.run_id, store=store, options=options) as run:
        await run.wait()
    whole = (await statistics(store, result.run_id)).latency("instance")
    assert whole is not None
    assert whole.max == pytest.approx(0.4, rel=0.01)


async def test_what_a_rollback_meets_is_counted_apart_and_is_not_why_it_failed(store: MemoryStore, vault: Vault) -> None:
    script = {"run two": [TransientError("busy"), PermanentError("refused")], "rollback one": [TransientError("later")]}
    ledger = Ledger(script=script)
    async with start(toy(ledger), store=store, options=fast(vault), scenario=Scenario()) as run:
        result = await run.wait()
        instance = await run.instance(0)
    assert instance.status is Status.ROLLED_BACK
    assert instance.failure is not None
    assert instance.failure.message == "refused"
    total = (await statistics(store, result.run_id)).total
    assert (total.counters["two.retried"], total.counters["two.failed"]) == (1, 1)
    assert (total.counters["one.retried"], total.counters["one.rollback.retried"]) == (0, 1)
    assert {key.state for key in total.errors} == {"two", "one.rollback"}


async def test_what_was_retried_with_success_is_no_failure(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy")]})
    async with start(toy(ledger), store=store, options=fast(vault)) as run:
        await run.wait()
        assert (await run.instance(0)).failure is None


async def test_a_rate_for_an_unknown_group_is_refused(store: MemoryStore, vault: Vault) -> None:
    with pytest.raises(SettingError, match="'configuraton' is not a rate group of 'toy'; known: configuration, sign_on"):
        await drive(rounds(Ledger()), store, vault, Scenario(), rates={"configuraton": 3.0})


async def test_arrivals_that_wait_for_their_turn_when_it_is_stopped_are_left_to_the_resume(
    store: MemoryStore, vault: Vault
) -> None:
    ledger, options = Ledger(), Options(vault=vault)
    scenario = Scenario(rate=20.0, instances=10, concurrency=50)
    async with start(toy(ledger), store=store, scenario=scenario, options=options) as run:
        await anyio.sleep(0.2)
        run.stop()
        result = await run.wait()
    assert result.interrupted
    assert 0 < result.counts[Status.PENDING] < 10
    async with resume(toy(ledger), result.run_id, store=store, options=options) as run:
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 10}


async def test_a_ramp_that_has_nothing_left_to_start_is_over(store: MemoryStore, vault: Vault) -> None:
    ledger, options = Ledger(), Options(vault=vault)
    scenario = Scenario(instances=3, stages=(Stage(3600, 10),))
    with anyio.fail_after(5):
        async with start(toy(ledger), store=store, scenario=scenario, options=options) as run:
            result = await run.wait()
        assert result.counts == {Status.COMPLETED: 3}
        async with cleanup(toy(ledger), result.run_id, store=store, options=options) as run:
            await run.wait()
    assert ledger.existing == []


async def test_a_scenario_that_was_ended_early_stays_so_when_it_is_resumed(
    store: MemoryStore, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.load.abort.SETTLED_S", 0.0)
    ledger, options = Ledger(), Options(vault=vault)

    async def slow(step: Any) -> None:
        await anyio.sleep(0.05 if step.number else 4)

    ledger.script = {"run one": [slow] * 1000}
    more = {"scenario": Scenario(instances=500, concurrency=2), "thresholds": ["one.p50 < 1us"], "abort": True}
    async with start(toy(ledger), store=store, options=options, **more) as run:
        while not run.aborted:
            await anyio.sleep(0.02)
        run.cancel()
        result = await run.wait()
    assert result.interrupted
    admitted = result.total - result.counts[Status.PENDING]
    ledger.script = {}
    async with resume(toy(ledger), result.run_id, store=store, options=options) as run:
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.COMPLETED: admitted, Status.PENDING: 500 - admitted}


async def test_a_number_that_only_grows_does_not_end_a_scenario(
    store: MemoryStore, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.load.abort.SETTLED_S", 0.0)
    async with start(
        toy(Ledger()),
        store=store,
        options=fast(vault),
        scenario=Scenario(concurrency=2, duration=0.4),
        thresholds=["completed > 1000000", "one.count > 1000000"],
        abort=True,
    ) as run:
        await run.wait()
        assert run.aborted is None


async def test_instances_that_wait_for_a_rate_are_cut_off_too(store: MemoryStore, vault: Vault) -> None:
    ledger, options = Ledger(), Options(vault=vault)
    scenario = Scenario(concurrency=20, duration=0.3, graceful_stop=0.2, rounds=ENDLESS)
    with anyio.fail_after(10):
        async with start(
            rounds(ledger), store=store, scenario=scenario, options=options, rates={"sign_on": 4.0}, on_success="teardown"
        ) as run:
            result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts[Status.ROLLED_BACK] > 10
    assert not [name for name in ledger.existing if name.startswith("provide")]


async def test_what_there_is_nothing_to_use_of_is_not_stored(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    gone = await drive(rounds(ledger), store, vault, Scenario(), on_success="teardown")
    with pytest.raises(ConfigurationError, match="has no completed instance that was kept"):
        await drive(rounds(ledger), store, vault, Scenario(reuse=gone.run_id))
    assert [run.id for run in (await store.runs()).runs] == [gone.run_id]
    kept = await drive(rounds(ledger), store, vault, Scenario())
    user = await drive(rounds(ledger), store, vault, Scenario(reuse=kept.run_id))
    with pytest.raises(ConfigurationError, match=f"reused the instances of {kept.run_id}: name that run instead"):
        await drive(rounds(ledger), store, vault, Scenario(reuse=user.run_id))
    async with cleanup(rounds(ledger), kept.run_id, store=store, options=fast(vault)) as run:
        await run.wait()
    async with cleanup(rounds(ledger), user.run_id, store=store, options=fast(vault)) as run:
        assert (await run.wait()).status is RunStatus.FINISHED


async def test_evidence_that_cannot_be_shown_costs_nothing_but_itself(store: MemoryStore, vault: Vault) -> None:
    class Odd:
        def secrets(self) -> Any:
            return ()

        def entry(self, secrets: Any) -> Any:
            raise ValueError("an address that is none")

    class Odder(Odd):
        def entry(self, secrets: Any) -> Any:
            return {"text": "\ud800"}

    class Oddest(Odd):
        def secrets(self) -> Any:
            raise KeyError("Authorization")

    def fail(exchange: Any) -> Any:
        def act(step: Any) -> None:
            record_exchange(exchange)
            raise PermanentError("refused")

        return act

    ledger = Ledger(script={"run two": [fail(Odd()), fail(Odder()), fail(Oddest())]})
    result = await drive(toy(ledger), store, vault, Scenario(instances=3))
    assert result.counts == {Status.ROLLED_BACK: 3}
    assert [len(await store.evidence(result.run_id, number)) for number in (0, 1, 2)] == [1, 1, 1]


class SteppedClock(SystemClock):
    """The scenario's time stands still until a test moves it, on a machine of any speed."""

    time = 100.0

    def steady(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def deadline(self, seconds: float) -> float:
        # Waits for a moment of the scenario check the time again soon; limits of attempts are longer.
        return anyio.current_time() + (min(seconds, 0.005) if seconds < 15 else seconds)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.002)


def now_and_then(ledger: Ledger, every: int) -> None:
    """About one round in this many fails for good, but never the first one of an instance."""
    counted, seen = 0, set()

    async def act(step: Any) -> None:
        nonlocal counted
        counted += 1
        await anyio.sleep(0.002)
        if step.number in seen and counted >= every:
            counted = 0
            raise PermanentError("refused now and then")
        seen.add(step.number)

    ledger.script = {"run use": [act] * 100_000}


async def test_a_user_of_a_soak_who_fails_is_replaced(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 20)
    scenario, options = Scenario(concurrency=4, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, options=options, scenario=scenario, on_success="teardown") as run:
        await until(lambda: run.live.count("replaced") >= 3)
        # During the scenario the number of users is as wanted, except at the moment of a change.
        await until(lambda: run.live.offered == 4 == run.wanted)
        clock.time += 11
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    failed = result.counts[Status.ROLLED_BACK]
    counted = (await statistics(store, result.run_id)).total.counters
    assert counted["round.failed"] == failed
    # Numbers increase, and no instance is counted twice. One that fails in the last moment is not replaced.
    assert 3 <= counted["replaced"] <= failed
    assert ledger.calls.count("run provide") == 4 + counted["replaced"] == result.total
    assert result.counts[Status.COMPLETED] == result.total - failed
    assert not [name for name in ledger.existing if name.startswith("provide")]


async def test_a_soak_that_was_interrupted_still_replaces_and_numbers_go_on(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 15)
    scenario, options = Scenario(concurrency=3, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, options=options, scenario=scenario) as run:
        await until(lambda: run.live.count("replaced") >= 2)
        run.cancel()
        before = await run.wait()
    assert before.interrupted
    async with resume(rounds(ledger), before.run_id, store=store, options=options) as run:
        replaced = run.live.count("replaced")
        await until(lambda: run.live.count("replaced") >= replaced + 2)
        clock.time += 11
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.total >= before.total + 2
    counted = (await statistics(store, result.run_id)).total.counters
    # A place that was empty when the first process stopped is filled by the second process as for the first time.
    assert 3 <= result.total - counted["replaced"] <= 6
    assert [row.number for row in await store.load(result.run_id)] == list(range(result.total))


async def test_users_whose_server_refuses_everything_come_back_ever_more_slowly(store: MemoryStore, vault: Vault) -> None:
    """Without the wait, four users would be refused some thousand times a second."""
    ledger, clock = Ledger(script={"run provide": [PermanentError("refused")] * 100_000}), SteppedClock()
    scenario, options = Scenario(concurrency=4, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, options=options, scenario=scenario) as run:
        await until(lambda: run.held_back == 4)
        assert run.live.count("started") == 4
        clock.time += 1.01  # the first wait is at most a second, the second one at least that
        await until(lambda: run.held_back == 4 and run.live.count("started") == 8)
        clock.time += 2.01
        await until(lambda: run.held_back == 4 and run.live.count("started") == 12)
        clock.time += 10
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.ROLLED_BACK: 12}
    counted = (await statistics(store, result.run_id)).total.counters
    assert counted["replaced"] == counted["held_back"] == 8


async def test_a_soak_by_stages_has_as_many_users_as_the_ramp_says(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 10**9)  # none fails
    scenario = Scenario(stages=(Stage(10, 8), Stage(10, 8), Stage(10, 0)), rounds=ENDLESS)
    options = Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, options=options, scenario=scenario, on_success="teardown") as run:
        for at, users in ((0.5, 1), (5, 4), (9.9, 8), (15, 8), (22, 7), (26, 4), (29, 1)):
            clock.time = 100.0 + at
            await until(lambda users=users: run.live.offered == users == run.wanted)
        clock.time = 131.0
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    # Down the ramp one instance leaves at a time; no new instance takes its place.
    assert result.counts == {Status.COMPLETED: 8}


async def test_a_ramp_loses_no_more_users_than_it_wants(vault: Vault) -> None:
    """Several instances ask in the same moment whether to begin another round."""
    clock = ManualClock()
    scenario = Scenario(stages=(Stage(10, 10), Stage(10, 0)), rounds=ENDLESS)
    admission = Admission(scenario, clock)
    admission.begin()
    clock.time += 10
    for _ in range(10):
        assert await admission.place()
    clock.time += 2.5
    assert scenario.concurrency_at(admission.elapsed) == 8
    assert [admission.wants_round(number, 1) for number in range(10)] == [False, False, *[True] * 8]
    # The first of them did not end after all (its token had expired), and asks again.
    assert admission.wants_round(0, 1) is False
    assert [admission.wants_round(number, 2) for number in range(2, 10)] == [True] * 8
    assert admission.give_back(0)
    assert admission.give_back(1)
    assert [admission.wants_round(number, 3) for number in range(2, 10)] == [True] * 8


async def test_the_load_that_was_wanted_is_shown_beside_the_one_that_there_was(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 10**9)
    ledger.script["run provide"] = [None, None, *[PermanentError("refused")] * 1000]
    scenario, options = Scenario(concurrency=5, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, scenario=scenario, options=options) as run:
        await until(lambda: run.live.offered == 2 and run.held_back == 3)
        for _ in range(20):
            run._collector.sample()
        clock.time += 11
        result = await run.wait()
    measured = (await statistics(store, result.run_id)).measured()
    assert measured.active[1] >= 20
    assert measured.wanted == 5
    assert 1.5 < measured.offered <= 2


async def test_a_rate_counts_nothing_that_ends_in_the_graceful_stop_and_every_report_says_the_same(
    store: MemoryStore, vault: Vault
) -> None:
    ledger, late = Ledger(), anyio.Event()

    async def wait(step: Any) -> None:
        if step.number >= 5:
            await late.wait()

    ledger.script = {"run check": [wait] * 1000}
    workflow = rounds(ledger)
    scenario = Scenario(rate=20.0, duration=1.0)
    thresholds = ["instance.rate > 12/s", "instance.count > 12"]
    clock = SteppedClock()
    options = Options(vault=vault, clock=clock, lease_s=3600)
    async with start(workflow, store=store, options=options, scenario=scenario, thresholds=thresholds) as run:
        clock.time += 0.99
        await until(lambda: run.live.count("started") == 20 and run.live.count("ended.completed") == 5)
        clock.time += 0.01
        await until(lambda: run.statistics.seconds >= 0.99)  # the tick at the end of its time
        clock.time += 0.5
        late.set()
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 20}
    summary = await summary_of(workflow, store, vault, result)
    measured = summary.statistics
    assert measured.seconds >= 0.99
    assert measured.ended("instance") == 5
    assert measured.latency("instance").count == 20
    rate = 5 / measured.seconds
    assert [verdict.holds for verdict in summary.verdicts] == [False, False]
    assert float(summary.verdicts[0].value.removesuffix("/s")) == pytest.approx(rate, rel=0.1)
    span = json_report.statistics(summary)["segments"]["instance"]
    assert (span["count"], span["ended"], span["rate"]) == (20, 5, rate)
    said = "\n".join(text.lines(summary))
    assert f"{rate:.1f} instance/s" in said
    assert "ended in the graceful stop: in the percentiles, in no rate: 15 round, 15 instance" in said
    page = html.page(await details_of(await StoredRun.load(workflow, result.run_id, store=store, vault=vault), summary))
    assert f"<b>{rate:.1f}/s</b><span>instances</span>" in page
    assert '"graceful stop"' in page


async def summary_of(workflow: Any, store: MemoryStore, vault: Vault, result: Any) -> Any:
    return await summarise(await StoredRun.load(workflow, result.run_id, store=store, vault=vault))


async def test_every_report_of_a_soak_tells_of_failed_rounds_and_of_missing_users(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 12)
    scenario, options = Scenario(concurrency=3, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    workflow = rounds(ledger)
    async with start(workflow, store=store, scenario=scenario, options=options, thresholds=["round.failed < 60%"]) as run:
        await until(lambda: run.live.count("replaced") >= 2)
        clock.time += 11
        result = await run.wait()
    summary = await summary_of(workflow, store, vault, result)
    counted = summary.statistics.total.counters
    failed, done, replaced = (counted[name] for name in ("round.failed", "round.done", "replaced"))
    assert failed == result.counts[Status.ROLLED_BACK] > 0
    assert exit_code(summary) is ExitCode.SUCCESS  # the threshold allows these failures
    said = "\n".join(text.lines(summary))
    assert f"{done} rounds finished, {failed} failed (" in said
    assert re.search(rf"users on average: [0-9.]+ wanted, [0-9.]+ in their rounds; {replaced} replaced after a failure", said)
    data = json_report.statistics(summary)
    assert data["rounds"] == {"done": done, "failed": failed}
    assert data["load"]["replaced"] == replaced
    assert data["segments"]["round"]["count"] == done
    picture = await details_of(await StoredRun.load(workflow, result.run_id, store=store, vault=vault), summary)
    assert "in their rounds" in html.page(picture)
    assert '"wanted":[' in html.page(picture)
    assert {"wanted", "offered"} < set(tables(picture)["timeline.csv"].splitlines()[0].split(","))


async def test_a_threshold_on_rounds_does_not_excuse_instances_that_failed_before_them(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run provide": [PermanentError("refused")]})
    workflow = rounds(ledger)
    result = await drive(workflow, store, vault, Scenario(instances=5, concurrency=5), thresholds=["round.failed < 60%"])
    summary = await summary_of(workflow, store, vault, result)
    assert [verdict.holds for verdict in summary.verdicts] == [True]
    assert exit_code(summary) is ExitCode.FAILED


def test_time_and_quotas_are_checked_for_the_users_of_a_soak_without_their_replacements() -> None:
    workflow, soak = rounds(Ledger()), Scenario(concurrency=20, duration=10.0, rounds=ENDLESS)
    check_time(workflow, soak, {"configuration": 2.0})  # each makes one call: ten seconds
    with pytest.raises(SettingError, match=r"duration: 10s is too short: 20 instances with 1 configuration attempts each"):
        check_time(workflow, soak, {"configuration": 1.9})
    found = estimate(workflow, soak, {"configuration": 2.0}, OnSuccess.KEEP)
    assert found is not None
    assert (found.instances, found.seconds) == (20, 10)
    for on_success in OnSuccess:
        check_quotas({"application": Quota(980, 1000)}, soak, on_success)
        with pytest.raises(ConfigurationError, match="the scenario needs up to 20 more at once"):
            check_quotas({"application": Quota(981, 1000)}, soak, on_success)
