"""The retry of failed instances that were kept."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator import (
    ConfigurationError,
    EventKind,
    PermanentError,
    RunStatus,
    Scenario,
    Status,
    StoreError,
    TransientError,
    UnknownRunError,
    Vault,
    cleanup,
    resume,
    retry,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.runs import kept_after, stopped_after
from tests.support.toy import Ledger, fast, toy


async def test_a_retry_goes_on_where_it_failed(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [None, PermanentError("not now"), PermanentError("not now")]})
    run_id = await kept_after(ledger, store, vault, instances=4)
    made = list(ledger.existing)
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        result = await again.wait()
        instance = await again.instance(1)
    assert result.counts == {Status.COMPLETED: 4}
    assert (await store.run(run_id)).status is RunStatus.FINISHED
    assert ledger.calls == ["run two", "run three"] * 2
    assert len(ledger.existing) == 12
    assert ledger.existing[: len(made)] == made
    assert (instance.trail, instance.failure, instance.failures) == (("one", "two", "three"), None, 0)
    kinds = [event.kind for event in await store.events(run_id, 1)]
    assert kinds[2:6] == [EventKind.FAILED, EventKind.ENDED, EventKind.PUT_BACK, EventKind.RESUMED]


async def test_a_retry_looks_first_if_the_step_that_failed_may_have_had_its_effect(store: MemoryStore, vault: Vault) -> None:
    def act_and_break(step: Any) -> None:
        ledger.existing.append("two:0")
        raise RuntimeError("a bug")

    ledger = Ledger(script={"run two": [act_and_break]})
    run_id = await kept_after(ledger, store, vault)
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 1}
    assert ledger.calls == ["recover two", "run three"]
    assert ledger.existing == ["one:0", "two:0", "three:0"]


async def test_a_retry_of_one_leaves_the_others(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("not now")] * 3})
    run_id = await kept_after(ledger, store, vault, instances=3)
    async with retry(toy(ledger), run_id, store=store, number=1, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 1, Status.FAILED: 2}
    assert (await again.instance(1)).status is Status.COMPLETED


async def test_a_retry_that_fails_again_is_kept_again_and_counts_its_attempts_from_one(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy")] * 50})
    run_id = await kept_after(ledger, store, vault)
    ledger.script = {"run two": [TransientError("busy"), PermanentError("still not")]}
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.FAILED: 1}
        instance = await again.instance(0)
    assert instance.failure is not None
    assert (instance.failure.message, instance.failure.attempt) == ("still not", 2)
    async with cleanup(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.ROLLED_BACK: 1}
    assert ledger.existing == []


async def test_a_retry_that_is_interrupted_is_resumed_with_all_that_were_put_back(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("not now")] * 5})
    run_id = await kept_after(ledger, store, vault, instances=5)
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:

        async def cancelled(step: Any) -> None:
            again.cancel()
            await anyio.sleep_forever()

        ledger.script = {"run two": [None, cancelled]}
        result = await again.wait()
    assert result.status is RunStatus.RETRYING
    assert result.counts == {Status.COMPLETED: 1, Status.SUSPENDED: 4}
    assert (await store.run(run_id)).status is RunStatus.RETRYING
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.COMPLETED: 5}
    assert sorted(ledger.existing) == sorted(f"{state}:{number}" for state in ("one", "two", "three") for number in range(5))


@pytest.mark.parametrize("number", [None, 3])
async def test_a_retry_that_cannot_put_all_back_puts_none_back(vault: Vault, number: int | None) -> None:
    class Full(MemoryStore):
        async def save_all(self, *args: Any) -> None:
            raise StoreError("the disk is full")

    store, ledger = Full(), Ledger(script={"run two": [PermanentError("not now")] * 5})
    run_id = await kept_after(ledger, store, vault, instances=5)
    with pytest.raises(StoreError, match="the disk is full"):
        async with retry(toy(ledger), run_id, store=store, number=number, options=fast(vault)) as again:
            await again.wait()
    assert again.command == f"retry {run_id}" + ("" if number is None else f"-{number}")
    store.__class__ = MemoryStore  # the quota suffices again
    assert (await store.run(run_id)).status is RunStatus.FINISHED
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.FAILED: 5}
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 5}


async def test_a_retry_that_is_killed_before_it_puts_back_changes_nothing(store: MemoryStore, vault: Vault) -> None:
    class Dead(MemoryStore):
        """Simulates a process killed just before it resets instances: later writes are lost."""

        dead = False

        async def save_all(self, *args: Any) -> None:
            self.dead = True
            raise StoreError("killed")

        async def set_run_status(self, *args: Any) -> None:
            if self.dead:
                raise StoreError("killed")
            await super().set_run_status(*args)

        async def release(self, *args: Any) -> None:
            raise StoreError("killed")

    ledger = Ledger(script={"run two": [PermanentError("not now")] * 3})
    run_id = await kept_after(ledger, store, vault, instances=3)
    store.__class__ = Dead
    with pytest.raises(StoreError, match="killed"):
        async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
            await again.wait()
    store.__class__ = MemoryStore
    assert (await store.run(run_id)).status is RunStatus.FINISHED
    assert await store.counts(run_id) == {(Status.FAILED, "failed"): 3}
    (shard,) = await store.shards(run_id)
    await store.release([shard])
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 3}


async def test_a_retry_starts_nothing_new_and_is_not_cut_off_by_a_time_that_is_over(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("not now")]})
    scenario = Scenario(duration=0.5, graceful_stop=0.0, rate=10)
    run_id = await kept_after(ledger, store, vault, scenario=scenario)
    before, admitted = await store.statistics(run_id), len(await store.load(run_id))
    assert Status.FAILED in {status for status, _ in await store.counts(run_id)}
    ledger.script.clear()  # on a busy machine the time may end before `two` is called
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert result.of(Status.FAILED) == 0
    assert len(await store.load(run_id)) == admitted
    assert await store.statistics(run_id) == before


async def test_only_failed_instances_of_a_finished_run_are_retried(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    interrupted = await stopped_after(ledger, store, vault, 2, total=4)
    with pytest.raises(ConfigurationError, match=r"not finished; resume it before a retry"):
        async with retry(toy(ledger), interrupted, store=store, options=fast(vault)):
            pass
    finished = await kept_after(ledger, store, vault)
    for number, error, words in (
        (0, ConfigurationError, "is completed"),
        (7, UnknownRunError, f"instance {finished}-7 is not in"),
    ):
        with pytest.raises(error, match=words):
            async with retry(toy(ledger), finished, store=store, number=number, options=fast(vault)):
                pass
    assert (await store.run(interrupted)).status is RunStatus.INTERRUPTED
    assert (await store.run(finished)).status is RunStatus.FINISHED
    assert ledger.calls == []
