"""Runs by scenario: rounds, stages, reused instances, and what is counted."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator import (
    ConfigurationError,
    Options,
    Outcome,
    PermanentError,
    RunStatus,
    Scenario,
    Stage,
    Status,
    TransientError,
    Vault,
    cleanup,
    record_exchange,
    resume,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.rounds import Check, Provide, SteppedClock, Use, drive, rounds, statistics
from tests.support.toy import Ledger, fast, toy
from tests.support.waiting import until


async def test_an_instance_goes_round_as_often_as_the_scenario_says(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    result = await drive(rounds(ledger), store, vault, Scenario(rounds=4))
    assert result.counts == {Status.COMPLETED: 1}
    assert [ledger.calls.count(f"run {name}") for name in ("provide", "use", "check")] == [1, 4, 4]
    assert (await statistics(store, result.run_id)).total.counters["check.moved.again"] == 3


async def test_a_state_that_goes_round_unasked_has_a_bug(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()

    class Greedy(Check):
        name = "check"

        async def run(self, step: Any) -> Outcome[Any]:
            return Outcome("again", step.context)

    result = await drive(toy(ledger, Provide(), Use(), Greedy()), store, vault, Scenario(rounds=2))
    assert result.counts == {Status.FAILED: 1}
    assert ledger.calls.count("run use") == 2


async def test_concurrency_follows_the_stages(store: MemoryStore, vault: Vault) -> None:
    ledger, clock, inside, leave = Ledger(), SteppedClock(), 0, anyio.Event()

    async def hold(step: Any) -> None:
        nonlocal inside
        inside += 1
        await leave.wait()
        inside -= 1

    ledger.script = {"run one": [hold] * 1000}
    scenario = Scenario(stages=(Stage(10, 8), Stage(10, 0)))
    options = Options(vault=vault, clock=clock, lease_s=3600)
    async with start(toy(ledger), store=store, scenario=scenario, options=options) as run:
        for at, instances in ((0.5, 1), (5, 4), (9.9, 8), (12, 7), (16, 4), (19, 1)):
            clock.time = 100.0 + at
            if at > 10:  # on the way down, those that end are not replaced
                leave.set()
                leave = anyio.Event()
            await until(lambda instances=instances: inside == instances)
        clock.time = 121.0
        leave.set()
        result = await run.wait()
    assert set(result.counts) == {Status.COMPLETED}


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


async def test_a_clean_up_measures_nothing(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    result = await drive(toy(ledger), store, vault, Scenario(instances=3))
    before = await store.statistics(result.run_id)
    async with cleanup(toy(ledger), result.run_id, store=store, options=fast(vault)) as run:
        await run.wait()
    assert await store.statistics(result.run_id) == before
    assert ledger.existing == []


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


async def test_errors_of_a_rollback_are_counted_apart_and_are_not_the_failure(store: MemoryStore, vault: Vault) -> None:
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


async def test_a_retried_error_is_no_failure(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy")]})
    async with start(toy(ledger), store=store, options=fast(vault)) as run:
        await run.wait()
        assert (await run.instance(0)).failure is None


async def test_a_run_without_instances_to_reuse_is_not_stored(store: MemoryStore, vault: Vault) -> None:
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
