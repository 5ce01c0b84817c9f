"""The rollback of one instance of a finished run; the others keep what they made."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator import (
    ConfigurationError,
    EventKind,
    OnFailure,
    PermanentError,
    RunStatus,
    Scenario,
    Status,
    StoreError,
    UnknownRunError,
    Vault,
    cleanup,
    resume,
    retry,
    start,
)
from orchestrator.report.instance import describe_outcome
from orchestrator.storage.memory import MemoryStore
from tests.support.runs import kept_after, stopped_after
from tests.support.toy import Ledger, fast, toy


def made_by(*numbers: int) -> list[str]:
    """All that these instances make."""
    return sorted(f"{state}:{number}" for state in ("one", "two", "three") for number in numbers)


async def refused(ledger: Ledger, run_id: str, number: int, store: MemoryStore, vault: Vault) -> str:
    """The message that refuses the rollback; nothing is called."""
    ledger.calls.clear()
    with pytest.raises((ConfigurationError, UnknownRunError)) as caught:
        async with cleanup(toy(ledger), run_id, store=store, number=number, options=fast(vault)):
            pass
    assert ledger.calls == []
    return str(caught.value)


async def test_an_unknown_number_is_refused(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    run_id = await kept_after(ledger, store, vault, instances=2)
    assert f"instance {run_id}-7 is not in" in await refused(ledger, run_id, 7, store, vault)
    assert sorted(ledger.existing) == made_by(0, 1)
    assert (await store.run(run_id)).status is RunStatus.FINISHED


async def test_an_instance_of_an_unfinished_run_is_refused(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    run_id = await stopped_after(ledger, store, vault, 2, total=4)
    said = await refused(ledger, run_id, 0, store, vault)
    assert said == f"run {run_id} is not finished; resume it before a rollback of one instance"
    assert sorted(ledger.existing) == made_by(0, 1)
    assert (await store.run(run_id)).status is RunStatus.INTERRUPTED


async def test_an_instance_of_a_run_whose_clean_up_was_interrupted_is_refused(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    run_id = await kept_after(ledger, store, vault, instances=3)
    async with cleanup(toy(ledger), run_id, store=store, options=fast(vault)) as run:
        ledger.script = {"rollback two": [lambda step: run.stop()]}
        assert (await run.wait()).status is RunStatus.CLEANING_UP
    assert "not finished; cleanup it before" in await refused(ledger, run_id, 2, store, vault)


async def test_an_instance_that_is_rolled_back_already_is_refused(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")]})
    async with start(toy(ledger), store=store, options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.ROLLED_BACK: 1}
    said = await refused(ledger, run.id, 0, store, vault)
    assert said == f"instance {run.id}-0 is rolled back already"


async def test_an_instance_of_which_nothing_exists_is_refused(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    run_id = await kept_after(ledger, store, vault, instances=2)
    async with cleanup(toy(ledger), run_id, store=store, number=1, options=fast(vault)) as run:
        await run.wait()
    assert f"instance {run_id}-1 has nothing to roll back" in await refused(ledger, run_id, 1, store, vault)
    assert sorted(ledger.existing) == made_by(0)


async def test_a_completed_instance_is_rolled_back_and_the_others_stay(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    run_id = await kept_after(ledger, store, vault, instances=4)
    async with cleanup(toy(ledger), run_id, store=store, number=2, options=fast(vault)) as run:
        result = await run.wait()
    assert ledger.calls == ["rollback three", "rollback two", "rollback one"]
    assert sorted(ledger.existing) == made_by(0, 1, 3)
    assert (result.status, result.counts) == (RunStatus.FINISHED, {Status.COMPLETED: 4})
    assert (await store.run(run_id)).status is RunStatus.FINISHED
    events = await store.events(run_id, 2)
    kinds = [event.kind for event in events]
    assert describe_outcome(events[-6]) == "rollback requested"
    assert kinds[-6:] == [EventKind.ROLLING_BACK, EventKind.RESUMED, *[EventKind.UNDONE] * 3, EventKind.ENDED]


async def test_a_kept_failure_is_rolled_back_and_the_others_can_still_be_retried(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")] * 3})
    run_id = await kept_after(ledger, store, vault, instances=3)
    async with cleanup(toy(ledger), run_id, store=store, number=1, options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.ROLLED_BACK: 1, Status.FAILED: 2}
    assert sorted(ledger.existing) == ["one:0", "one:2"]
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.ROLLED_BACK: 1, Status.COMPLETED: 2}


async def test_leftovers_are_tried_again(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"rollback two": [PermanentError("locked")]})
    run_id = await kept_after(ledger, store, vault, instances=2)
    async with cleanup(toy(ledger), run_id, store=store, number=0, options=fast(vault)) as run:
        result = await run.wait()
        left = await run.instance(0)
    assert result.counts == {Status.ROLLBACK_FAILED: 1, Status.COMPLETED: 1}
    assert [leftover.effect.name for leftover in left.leftovers] == ["two:0"]
    assert sorted(ledger.existing) == sorted(["two:0", *made_by(1)])
    ledger.calls.clear()
    async with cleanup(toy(ledger), run_id, store=store, number=0, options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.COMPLETED: 2}
    assert ledger.calls == ["rollback two"]
    assert sorted(ledger.existing) == made_by(1)


async def test_an_interrupted_rollback_is_resumed_and_nothing_else_is(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")] * 2})
    run_id = await kept_after(ledger, store, vault, instances=4)
    async with cleanup(toy(ledger), run_id, store=store, number=3, options=fast(vault)) as run:

        async def cancelled(step: Any) -> None:
            run.cancel()
            await anyio.sleep_forever()

        ledger.script = {"rollback two": [cancelled]}
        result = await run.wait()
    assert (result.status, run.command) == (RunStatus.ROLLING_BACK, f"resume {run_id}")
    assert result.counts == {Status.FAILED: 2, Status.COMPLETED: 1, Status.ROLLING_BACK: 1}
    assert (await store.run(run_id)).status is RunStatus.ROLLING_BACK
    assert "not finished; resume it before" in await refused(ledger, run_id, 2, store, vault)
    with pytest.raises(ConfigurationError, match="not finished; resume it before a retry"):
        async with retry(toy(ledger), run_id, store=store, options=fast(vault)):
            pass
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as run:
        result = await run.wait()
    assert (result.status, result.counts) == (RunStatus.FINISHED, {Status.FAILED: 2, Status.COMPLETED: 2})
    assert ledger.calls == ["rollback two", "rollback one"]
    assert sorted(ledger.existing) == sorted(["one:0", "one:1", *made_by(2)])


async def test_a_resumed_rollback_starts_nothing_new_and_is_not_measured(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    run_id = await kept_after(ledger, store, vault, scenario=Scenario(duration=0.5, graceful_stop=3600.0, rate=10))
    before, admitted = await store.statistics(run_id), len(await store.load(run_id))
    (completed, *_) = [row.number for row in await store.load(run_id, {Status.COMPLETED})]
    async with cleanup(toy(ledger), run_id, store=store, number=completed, options=fast(vault)) as run:
        ledger.script = {"rollback two": [lambda step: run.stop()]}
        assert (await run.wait()).status is RunStatus.ROLLING_BACK
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as run:
        assert (await run.wait()).status is RunStatus.FINISHED
    assert ledger.calls == ["rollback three", "rollback two", "rollback one"]
    assert len(await store.load(run_id)) == admitted
    assert await store.statistics(run_id) == before


async def test_a_rollback_that_cannot_be_stored_changes_nothing(vault: Vault) -> None:
    class Full(MemoryStore):
        async def save_all(self, *args: Any) -> None:
            raise StoreError("the disk is full")

    store, ledger = Full(), Ledger()
    run_id = await kept_after(ledger, store, vault, instances=2)
    with pytest.raises(StoreError, match="the disk is full"):
        async with cleanup(toy(ledger), run_id, store=store, number=1, options=fast(vault)) as run:
            await run.wait()
    assert run.command == f"cleanup {run_id}-1"
    assert ledger.calls == []
    assert (await store.run(run_id)).status is RunStatus.FINISHED
    assert (await run.instance(1)).status is Status.COMPLETED


async def test_a_rollback_in_any_shard_finishes_the_run(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")]})
    async with start(
        toy(ledger), store=store, instances=3, concurrency=3, shards=3, on_failure=OnFailure.KEEP, options=fast(vault)
    ) as run:
        await run.wait()
    (failed,) = [row.number for row in await store.load(run.id, {Status.FAILED})]
    ledger.calls.clear()
    async with cleanup(toy(ledger), run.id, store=store, number=failed, options=fast(vault)) as again:
        result = await again.wait()
    assert result.counts == {Status.ROLLED_BACK: 1, Status.COMPLETED: 2}
    assert ledger.calls == ["rollback two", "rollback one"]
    assert (await store.run(run.id)).status is RunStatus.FINISHED
