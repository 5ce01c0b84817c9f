"""Pruning: old runs that nothing needs are deleted, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from orchestrator import PermanentError, RunStatus, SettingError, Store, UnknownRunError, Vault, cleanup, open_store, prune, start
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.memory import MemoryStore
from orchestrator.storage.records import Save
from states.token_fulfillment import WORKFLOW
from tests.support.stores import NOW, OTHER, StoreClock, checkpoint, record
from tests.support.toy import Ledger, fast, toy

DAY = 86_400.0


async def fill(store: Store, *days: float, **more: Any) -> list[str]:
    """Store finished runs that ended so many days ago; ids ``run0``, ``run1`` …"""
    made = []
    for index, ago in enumerate(days):
        at = NOW - ago * DAY
        run = record(f"run{index}", status=RunStatus.FINISHED, created_at=at - 1, updated_at=at, **more)
        await store.create_run(run, {})
        made.append(run.id)
    return made


async def left(store: Store) -> list[str]:
    return [run.id for run in (await store.runs()).runs]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "older-than: say which runs may go"),
        ({"older_than": -1.0}, "older-than: -1 s is not between 0 and a year"),
        ({"older_than": float("nan")}, "older-than: nan s is not"),
        ({"keep": -1}, "keep: -1 is not between 0 and 10000"),
    ],
)
async def test_impossible_arguments_delete_nothing(arguments: dict[str, Any], message: str) -> None:
    store = MemoryStore()
    await fill(store, 50)
    with pytest.raises(SettingError, match=message):
        await prune(store, **arguments)
    assert await left(store) == ["run0"]


async def test_only_runs_that_ended_long_enough_ago_go() -> None:
    store = MemoryStore()
    await fill(store, 1, 29.9, 30.1, 90)
    await store.create_run(record("long", status=RunStatus.FINISHED, created_at=NOW - 90 * DAY, updated_at=NOW - DAY), {})
    done = await prune(store, older_than=30 * DAY, clock=StoreClock())
    assert (done.deleted, done.kept) == (("run2", "run3"), {})
    assert await left(store) == ["run0", "run1", "long"]


async def test_the_newest_runs_stay_whatever_their_age() -> None:
    store = MemoryStore()
    await fill(store, 40, 41, 42, 43)
    assert (await prune(store, older_than=30 * DAY, keep=3, clock=StoreClock())).deleted == ("run3",)
    assert (await prune(store, keep=2)).deleted == ("run2",)
    assert (await prune(store, keep=5)).deleted == ()
    assert await left(store) == ["run0", "run1"]
    assert (await prune(store, keep=0)).deleted == ("run0", "run1")


async def test_a_filter_limits_the_runs_that_are_deleted_and_counted() -> None:
    store = MemoryStore()
    await fill(store, 1, 2)
    await store.create_run(record("other", workflow="other", status=RunStatus.FINISHED, created_at=NOW - 3 * DAY), {})
    await store.create_run(record("open", status=RunStatus.INTERRUPTED, created_at=NOW - 4 * DAY), {})
    assert (await prune(store, keep=1, workflow="toy", statuses=[RunStatus.FINISHED])).deleted == ("run1",)
    assert await left(store) == ["run0", "other", "open"]
    assert (await prune(store, keep=0)).kept == {"open": "it is interrupted; resume it, or clean it up"}


async def test_a_dry_run_deletes_nothing_and_says_the_same() -> None:
    store = MemoryStore()
    await fill(store, 1, 2)
    reusing = Scenario(instances=1, rounds=2, reuse="run1")
    await store.create_run(record("newer", status=RunStatus.FINISHED, created_at=NOW, updated_at=NOW, scenario=reusing), {})
    await store.create_run(record("kept", created_at=NOW, updated_at=NOW), {})
    dry = await prune(store, keep=0, dry_run=True)
    assert len(await left(store)) == 4
    done = await prune(store, keep=0)
    assert dry == done
    assert done.deleted == ("newer", "run0", "run1")
    assert await left(store) == ["kept"]


async def test_a_reused_run_stays_as_long_as_the_reusing_one() -> None:
    store = MemoryStore()
    await fill(store, 50)
    reusing = Scenario(instances=1, rounds=2, reuse="run0")
    await store.create_run(record("newer", status=RunStatus.FINISHED, created_at=NOW, updated_at=NOW, scenario=reusing), {})
    done = await prune(store, older_than=30 * DAY, clock=StoreClock())
    assert (done.deleted, done.kept) == ((), {"run0": "run newer reuses its instances"})


async def test_a_run_that_another_process_has_just_deleted_is_no_error() -> None:
    class Raced(MemoryStore):
        async def delete_run(self, run_id: str) -> Any:
            if run_id == "run0":
                raise UnknownRunError(f"run {run_id}", self.where)
            return await super().delete_run(run_id)

    store = Raced()
    await fill(store, 1, 2)
    assert (await prune(store, keep=0)).deleted == ("run1",)


async def test_more_runs_than_a_page_are_deleted(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "s.db")) as store:
        await fill(store, *(number / 100 for number in range(230)))
        done = await prune(store, keep=10, clock=StoreClock())
        assert len(done.deleted) == 220
        assert await left(store) == [f"run{number}" for number in range(10)]


@pytest.mark.parametrize("kind", ["memory:", "runs.db"])
async def test_a_run_is_deleted_when_its_effects_are_gone(kind: str, home: Path, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")]})
    workflow, options = toy(ledger), fast(vault)
    async with open_store(kind) as store:
        async with start(workflow, store=store, instances=2, concurrency=2, on_failure="keep", options=options) as run:
            await run.wait()
        kept = await prune(store, keep=0)
        assert kept.kept == {run.id: f"2 instances have effects that may exist; `orchestrator cleanup {run.id}` removes them"}
        async with cleanup(workflow, run.id, store=store, options=options) as cleaning:
            await cleaning.wait()
        assert ledger.existing == []
        assert (await prune(store, keep=0)).deleted == (run.id,)


async def test_the_files_of_services_go_with_their_run_unless_it_reused_another(vault: Vault, tmp_path: Path) -> None:
    store, gone = MemoryStore(), []

    def forget(run_id: str, directory: Path) -> None:
        gone.append((run_id, directory))
        raise PermissionError

    await fill(store, 1, 2)
    reusing = Scenario(instances=1, rounds=2, reuse="run1")
    await store.create_run(record("newer", status=RunStatus.FINISHED, created_at=NOW, updated_at=NOW, scenario=reusing), {})
    workflow = toy(Ledger(), forget=forget)
    await prune(store, keep=0, dry_run=True, workflows=[workflow], directory=tmp_path)
    assert gone == []
    await prune(store, keep=0, workflows=[workflow], directory=tmp_path)
    assert gone == [("run0", tmp_path), ("run1", tmp_path)]


def test_the_sandbox_of_a_deleted_run_is_deleted_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "sandboxes"
    folder.mkdir()
    for name in ("a.db", "a.db-wal", "a-b.db"):
        (folder / name).touch()
    WORKFLOW.forget("a", tmp_path)
    WORKFLOW.forget("unknown", tmp_path)
    assert [path.name for path in folder.iterdir()] == ["a-b.db"]


async def test_a_killed_prune_is_finished_by_the_next_one(tmp_path: Path) -> None:
    async with open_store(str(tmp_path / "s.db")) as store:
        await fill(store, 1)
        shard = await store.claim("run0", 0, OTHER, 1e9)
        await store.save(Save(shard, attrs.evolve(checkpoint(0), run_id="run0", effects=()), []))
        await store.release([shard], [0])
        await store.delete_run("run0")  # and the process dies
        assert len(await store.load("run0")) == 1
        assert (await prune(store, keep=0)).deleted == ()
        assert await store.load("run0") == []
