"""Deleting in SQLite: in parts, and the file shrinks."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import attrs

from orchestrator import RunStatus, Status, open_store
from orchestrator.storage.records import Save
from orchestrator.storage.sqlite import deleting
from tests.support.stores import OTHER, RUN, checkpoint, event, record


async def test_a_run_is_deleted_in_parts_and_its_space_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with open_store(str(path)) as store:
        await store.create_run(record(), {})
        shard = await store.claim(RUN, 0, OTHER, 1e9)
        size = 2 * deleting.INSTANCES_AT_ONCE + 1
        rows = [attrs.evolve(checkpoint(number, Status.COMPLETED), body=os.urandom(4000), effects=()) for number in range(size)]
        await store.save_all(shard, [Save(shard, row, [event(row.number, 1)]) for row in rows], RunStatus.RUNNING)
        await store.release([shard], [0], RunStatus.RUNNING)
        assert (await store.delete_run(RUN)).obstacle() is None
        with sqlite3.connect(path) as other:
            # Hidden at once; the transaction that hid it has deleted no instance.
            assert other.execute("SELECT count(*) FROM instances").fetchone() == (size,)
            await store.sweep()
            for table in ("instances", "events", "evidence", "statistics", "remains", "shards"):
                assert other.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
        other.close()
        freed = await store.compact()
        assert freed > size * 4000 * 0.9
    assert path.stat().st_size < 200_000


async def test_an_interrupted_deletion_is_finished_by_the_next_sweep(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with open_store(str(path)) as store:
        await store.create_run(record(status=RunStatus.FINISHED), {})
        await store.delete_run(RUN)
    async with open_store(str(path)) as store:
        assert (await store.runs()).total == 0
        await store.sweep()
        with sqlite3.connect(path) as other:
            assert other.execute("SELECT count(*) FROM remains").fetchone() == (0,)
        other.close()
        await store.create_run(record(), {})
