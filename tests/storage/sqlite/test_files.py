"""The file of an SQLite store: its mode, its schema, its durability."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from orchestrator import EventKind, SettingError, StoreError, open_store
from orchestrator.storage.records import Save
from orchestrator.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS
from tests.support.stores import OTHER, RUN, Place, checkpoint, event


async def test_the_file_is_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "s.db"
    async with Place(f"sqlite:{path}").opened():
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        db.close()


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()


def store_of_version(version: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        async def opened() -> None:
            async with open_store(str(path)):
                pass

        anyio.run(opened)
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {version}")
        db.close()

    return make


WRONG_FILES = {
    "a text file": (lambda path: path.write_text("not a database, but long enough to look at" * 20), "not a store"),
    "somebody's database": (foreign_database, "not a store of this program"),
    "a newer schema": (store_of_version(99), "schema version 99"),
    "an impossible schema": (store_of_version(-1), "schema version -1"),
    "a folder": (lambda path: path.mkdir(), "is a folder: name a file in it"),
}


@pytest.mark.parametrize("case", list(WRONG_FILES))
def test_a_file_that_is_no_store_is_refused_by_name(case: str, tmp_path: Path) -> None:
    make, message = WRONG_FILES[case]
    path = tmp_path / "s.db"
    make(path)

    async def use() -> None:
        async with open_store(str(path)):
            pass

    with pytest.raises((StoreError, SettingError), match=message) as refused:
        anyio.run(use)
    assert str(path) in str(refused.value)


async def test_a_store_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing has been run"):
        async with open_store(str(tmp_path / "s.db"), create=False):
            pass
    assert not (tmp_path / "s.db").exists()


async def test_a_torn_log_loses_whole_transactions_only(tmp_path: Path) -> None:
    """Cut the write-ahead log at many lengths: a checkpoint and its event are both present or both absent."""
    path = tmp_path / "s.db"
    async with Place(f"sqlite:{path}").opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number in range(5):
            await store.save(Save(shard, checkpoint(number, body=b"y" * 500), [event(number, 1)]))
        database, log = path.read_bytes(), path.with_name("s.db-wal").read_bytes()
    lengths = set()
    for cut in range(0, len(log), max(1, len(log) // 23)):
        copy = tmp_path / f"cut{cut}.db"
        copy.write_bytes(database)
        copy.with_name(copy.name + "-wal").write_bytes(log[:cut])
        try:
            async with open_store(str(copy), create=False) as store:
                numbers = {row.number for row in await store.load(RUN)}
                assert all([len(await store.events(RUN, number)) == 1 for number in numbers])
                assert numbers == set(range(len(numbers)))
                lengths.add(len(numbers))
        except StoreError:
            continue
    assert len(lengths) > 1


async def test_a_store_of_the_first_schema_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    db = sqlite3.connect(path)
    db.executescript(MIGRATIONS[0])
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO events (run_id, number, seq, kind, at, state) VALUES (?, 0, 1, 'started', 1, 'one')", (RUN,))
    db.commit()
    db.close()
    async with open_store(f"sqlite:{path}") as store:
        assert [(e.kind, e.failure) for e in await store.events(RUN, 0)] == [(EventKind.STARTED, None)]
        assert await store.statistics(RUN) == []
