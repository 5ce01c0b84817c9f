"""Resuming every unfinished run of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from orchestrator import (
    LeaseHeldError,
    Options,
    RunStatus,
    SettingError,
    Status,
    Store,
    StoreError,
    UnknownWorkflowError,
    Vault,
    open_store,
    resume_all,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.stores import record
from tests.support.toy import Ledger, fast, toy


async def interrupted(store: Store, ledger: Ledger, options: Options, *run_ids: str) -> None:
    """Store runs that were interrupted in their second state."""
    for run_id in run_ids:
        ledger.script.setdefault("run two", []).append(lambda step: run.cancel() or anyio.sleep_forever())
        async with start(toy(ledger), store=store, run_id=run_id, options=options) as run:
            assert (await run.wait()).interrupted


async def statuses(store: Store) -> dict[str, RunStatus]:
    return {run.id: run.status for run in (await store.runs()).runs}


async def test_an_impossible_concurrency_resumes_nothing(vault: Vault) -> None:
    store = MemoryStore()
    await interrupted(store, Ledger(), fast(vault), "a")
    with pytest.raises(SettingError, match="concurrency: 0 is less than 1"):
        async with resume_all([toy(Ledger())], store=store, concurrency=0, options=fast(vault)):
            pass
    assert await statuses(store) == {"a": RunStatus.INTERRUPTED}


async def test_every_unfinished_run_is_resumed_and_finished_ones_are_left_alone(vault: Vault, tmp_path: Path) -> None:
    ledger, options, ended = Ledger(), fast(vault), []
    async with open_store(str(tmp_path / "s.db")) as store:
        await interrupted(store, ledger, options, *(f"run{number:03}x" for number in range(7)))
        async with start(toy(ledger), store=store, run_id="done", options=options) as run:
            await run.wait()
        before = await store.run("done")
        async with resume_all([toy(ledger)], store=store, concurrency=3, options=options, on_end=ended.append) as resumption:
            results = await resumption.wait()
        assert {one.run_id for one in results} == {f"run{number:03}x" for number in range(7)}
        assert all(one.error is None and one.result is not None for one in results)
        assert {one.result.counts[Status.COMPLETED] for one in results if one.result} == {1}
        assert results == ended
        assert set((await statuses(store)).values()) == {RunStatus.FINISHED}
        assert await store.run("done") == before


async def test_an_error_of_one_run_does_not_stop_the_others(vault: Vault) -> None:
    store, ledger, options = MemoryStore(), Ledger(), fast(vault)
    await interrupted(store, ledger, options, "good1", "good2")
    await interrupted(store, Ledger(), fast(Vault(bytes(32), "another key")), "sealed")
    await store.create_run(record("foreign", workflow="other"), {})
    async with start(toy(Ledger()), store=store, run_id="stored", drive=False, options=options) as run:
        await run.wait()
    (shard,) = await store.shards("stored")
    held = attrs.evolve(shard, owner='{"host":"h","boot_id":"b","pid":7,"namespace":"","started":"1"}', lease_until=2e9)
    store._shards["stored", 0] = held
    async with resume_all([toy(ledger)], store=store, options=options) as resumption:
        results = {one.run_id: one for one in await resumption.wait()}
    assert results.keys() == {"good1", "good2", "sealed", "foreign", "stored"}
    for good in ("good1", "good2"):
        assert results[good].result is not None
    assert "was encrypted with the key" in str(results["sealed"].error)
    assert isinstance(results["foreign"].error, UnknownWorkflowError)
    assert isinstance(results["stored"].error, LeaseHeldError)
    assert (await statuses(store))["foreign"] is RunStatus.RUNNING


async def test_no_more_runs_than_asked_for_are_driven_at_once(vault: Vault) -> None:
    store, ledger, options = MemoryStore(), Ledger(), fast(vault)
    await interrupted(store, ledger, options, "a", "b", "c", "d", "e")
    going, most = 0, 0

    async def count(step: Any) -> None:
        nonlocal going, most
        going += 1
        most = max(most, going)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        going -= 1

    ledger.script["run three"] = [count] * 5
    async with resume_all([toy(ledger)], store=store, concurrency=2, options=options) as resumption:
        assert len(await resumption.wait()) == 5
    assert most == 2


@pytest.mark.parametrize("way", ["stop", "cancel", "error"])
async def test_a_stopped_resumption_suspends_its_runs_and_begins_no_other(way: str, vault: Vault) -> None:
    store, ledger, options = MemoryStore(), Ledger(), fast(vault)
    await interrupted(store, ledger, options, "a", "b", "c")
    reached = anyio.Event()

    async def wait(step: Any) -> None:
        reached.set()
        await anyio.sleep_forever()

    ledger.script["run two"] = [wait]
    results = []
    try:
        async with resume_all([toy(ledger)], store=store, concurrency=1, options=options, on_end=results.append) as resumption:
            await reached.wait()
            if way == "error":
                raise KeyError(way)
            getattr(resumption, way)()
            assert await resumption.wait() == results
    except KeyError:
        assert way == "error"
    assert [(one.run_id, one.error) for one in results] == [("a", None), ("b", None), ("c", None)]
    assert results[0].result is not None
    assert results[0].result.interrupted
    assert results[1].result is results[2].result is None
    assert set((await statuses(store)).values()) == {RunStatus.INTERRUPTED}
    async with resume_all([toy(ledger)], store=store, options=options) as resumption:
        await resumption.wait()
    assert set((await statuses(store)).values()) == {RunStatus.FINISHED}


async def test_a_cancelled_resumption_suspends_its_runs(vault: Vault) -> None:
    store, ledger, options = MemoryStore(), Ledger(), fast(vault)
    await interrupted(store, ledger, options, "a")
    with anyio.CancelScope() as scope:
        ledger.script["run two"] = [lambda step: scope.cancel() or anyio.sleep_forever()]
        async with resume_all([toy(ledger)], store=store, options=options):
            pass
    assert scope.cancelled_caught
    assert await statuses(store) == {"a": RunStatus.INTERRUPTED}
    assert [shard.owner for shard in await store.shards("a")] == [None]


async def test_a_store_that_cannot_be_read_raises(vault: Vault) -> None:
    class Broken(MemoryStore):
        async def runs(self, *args: Any, **more: Any) -> Any:
            raise StoreError("no disk")

    with pytest.raises(StoreError, match="no disk"):
        async with resume_all([toy(Ledger())], store=Broken(), options=fast(vault)):
            pass
