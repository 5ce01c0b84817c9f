"""Writing to an SQLite store: locks, a full disk, unstorable values, closing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import pytest

from orchestrator import Shard, Store, StoreError
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import Save
from tests.support.stores import OTHER, RUN, Place, checkpoint


async def test_a_locked_store_names_who_may_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(f"sqlite:{tmp_path / 's.db'}")
    monkeypatch.setattr("orchestrator.storage.sqlite.problems.BUSY_TIMEOUT_S", 0.05)
    async with place.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        blocker = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"locked .*process 7 on elsewhere"):
            await store.save(Save(shard, checkpoint(0), []))
        shard = await _taken_by_us(place, store, blocker, shard)
        with pytest.raises(StoreError, match=r"locked .*another program has it open"):
            await store.save(Save(shard, checkpoint(0), []))
        blocker.execute("ROLLBACK")
        blocker.close()
        await store.save(Save(shard, checkpoint(0), []))


async def _taken_by_us(place: Place, store: Store, blocker: sqlite3.Connection, shard: Shard) -> Shard:
    blocker.execute("ROLLBACK")
    claimed = await place.taken_over(store, this_process())
    blocker.execute("BEGIN IMMEDIATE")
    return claimed


async def test_a_full_store_says_so_and_keeps_its_data(tmp_path: Path) -> None:
    async with Place(f"sqlite:{tmp_path / 's.db'}").opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.save(Save(shard, checkpoint(0, body=b"before"), []))
        store._db._writer.execute("PRAGMA max_page_count = 20")
        with pytest.raises(StoreError, match="full"):
            for number in range(1, 50):
                await store.save(Save(shard, checkpoint(number, body=b"x" * 4000), []))
        store._db._writer.execute("PRAGMA max_page_count = 100000")
        rows = await store.load(RUN)
        assert rows[0].body == b"before"
        await store.save(Save(shard, checkpoint(99), []))


async def test_a_save_waits_for_another_process_without_holding_up_the_loop(tmp_path: Path) -> None:
    async with Place(f"sqlite:{tmp_path / 's.db'}").opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ticks = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: store.save(Save(shard, checkpoint(0), [])))
            for _ in range(10):
                await anyio.sleep(0.01)  # it returns soon, unless the loop is held up
                ticks += 1
            assert await store.load(RUN) == []
            other.execute("COMMIT")
        other.close()
        assert ticks == 10
        assert [row.number for row in await store.load(RUN)] == [0]
