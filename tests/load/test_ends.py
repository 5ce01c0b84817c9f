"""The end of a scenario: cut off, ended by a threshold, interrupted, and resumed."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator import (
    EventKind,
    Options,
    PermanentError,
    RunStatus,
    Scenario,
    SettingError,
    Stage,
    Status,
    Vault,
    cleanup,
    resume,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.rounds import SteppedClock, drive, statistics
from tests.support.toy import Ledger, fast, toy
from tests.support.waiting import until


async def test_a_cut_off_instance_is_kept_if_the_policy_says_so(store: MemoryStore, vault: Vault) -> None:
    clock = SteppedClock()

    def hang(step: Any) -> None:
        clock.time += 11.0

    ledger = Ledger(script={"run one": [hang]})
    scenario = Scenario(concurrency=1, duration=5.0, graceful_stop=5.0)
    options = Options(vault=vault, clock=clock, lease_s=3600)
    async with start(toy(ledger), store=store, options=options, scenario=scenario, on_failure="keep") as run:
        result = await run.wait()
    assert result.counts == {Status.FAILED: 1}
    assert ledger.existing == ["one:0"]


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


async def test_a_broken_threshold_ends_the_scenario_if_that_is_wanted(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")] * 100_000})
    scenario = Scenario(concurrency=2, duration=3600.0)
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


async def test_a_scenario_that_was_ended_early_stays_so_when_it_is_resumed(store: MemoryStore, vault: Vault) -> None:
    ledger, options = Ledger(), fast(vault)

    async def work(step: Any) -> None:
        # Slow enough that the scenario is ended before its last instance.
        await (anyio.sleep(0.01) if step.number else anyio.sleep_forever())

    ledger.script = {"run one": [work] * 1000}
    more = {"scenario": Scenario(instances=500, concurrency=2), "thresholds": ["one.p50 < 1us"], "abort": True}
    async with start(toy(ledger), store=store, options=options, **more) as run:
        await until(lambda: run.aborted)
        run.cancel()
        result = await run.wait()
    assert result.interrupted
    admitted = result.total - result.counts[Status.PENDING]
    ledger.script = {}
    async with resume(toy(ledger), result.run_id, store=store, options=options) as run:
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.COMPLETED: admitted, Status.PENDING: 500 - admitted}


async def test_a_number_that_only_grows_does_not_end_a_scenario(store: MemoryStore, vault: Vault) -> None:
    async with start(
        toy(Ledger()),
        store=store,
        options=fast(vault),
        scenario=Scenario(concurrency=2, duration=20.0),
        thresholds=["completed > 1000000", "one.count > 1000000"],
        abort=True,
    ) as run:
        await run.wait()
        assert run.aborted is None
