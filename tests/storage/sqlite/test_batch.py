"""The statement that stores a batch: batches of any size, and what it leaves in the connection."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import attrs
import pytest

from orchestrator import StaleEpochError, StoreError
from orchestrator.storage.records import Save
from orchestrator.storage.sqlite import batch
from tests.support.stores import OTHER, RUN, Place, checkpoint, event


@pytest.mark.parametrize("count", [1, 2, 99, 1023, 1024, 3000])
async def test_a_batch_of_any_size_is_stored_whole(tmp_path: Path, count: int) -> None:
    async with Place(f"sqlite:{tmp_path / 's.db'}").opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(store.save, Save(shard, checkpoint(number), [event(number, 1), event(number, 2)]))
        assert await store.counts(RUN)
        assert [row.number for row in await store.load(RUN, limit=5000)] == list(range(count))
        assert [found.seq for found in await store.events(RUN, count - 1)] == [1, 2]


@pytest.mark.parametrize("count", [3, 1500])
async def test_a_batch_of_stale_saves_stores_nothing(tmp_path: Path, count: int) -> None:
    place = Place(f"sqlite:{tmp_path / 's.db'}")
    async with place.opened() as store:
        ours = await store.claim(RUN, 0, OTHER, 30)
        current = await place.taken_over(store, attrs.evolve(OTHER, pid=8))
        errors: list[Exception] = []

        async def save(number: int) -> None:
            with pytest.raises(StaleEpochError) as raised:
                await store.save(Save(ours, checkpoint(number), [event(number, 1)]))
            errors.append(raised.value)

        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(save, number)
        assert len(errors) == count
        assert await store.load(RUN) == []
        await store.save(Save(current, checkpoint(0), [event(0, 1)]))
        assert [row.number for row in await store.load(RUN)] == [0]


async def test_stale_and_unstorable_saves_of_a_large_batch_do_not_affect_the_others(tmp_path: Path) -> None:
    place = Place(f"sqlite:{tmp_path / 's.db'}")
    async with place.opened() as store:
        stale = await store.claim(RUN, 0, OTHER, 30)
        shard = await place.taken_over(store, attrs.evolve(OTHER, pid=8))
        failed: dict[int, Exception] = {}

        async def save(number: int) -> None:
            at = float("inf") if number else 0.0
            row = attrs.evolve(checkpoint(number), not_before=at, position="\ud800" if number == 7 else "one")
            try:
                await store.save(Save(stale if number == 5 else shard, row, [event(number, 1)]))
            except StoreError as error:
                failed[number] = error

        async with anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(save, number)
        assert isinstance(failed.pop(5), StaleEpochError)
        assert "instance 261123-000000-7 cannot be stored" in str(failed.pop(7))
        assert failed == {}
        assert [row.number for row in await store.load(RUN)] == [n for n in range(40) if n not in {5, 7}]


async def test_a_save_after_one_with_an_unstorable_further_event_is_committed(tmp_path: Path) -> None:
    async with Place(f"sqlite:{tmp_path / 's.db'}").opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        with pytest.raises(StoreError, match="cannot be stored"):
            await store.save(Save(shard, checkpoint(0), [event(0, 1), attrs.evolve(event(0, 2), error="\ud800")]))
        with pytest.raises(StoreError, match="cannot be stored"):
            await store.save(Save(shard, attrs.evolve(checkpoint(1), position="\ud800", evidence=b"e"), [event(1, 1)]))
        await store.save(Save(shard, checkpoint(2), [event(2, 1), event(2, 2)]))
        with sqlite3.connect(tmp_path / "s.db") as other:
            assert other.execute("SELECT number FROM instances").fetchall() == [(2,)]
            assert other.execute("SELECT number, seq FROM events ORDER BY seq").fetchall() == [(2, 1), (2, 2)]
        other.close()


async def test_other_programs_see_no_view_and_no_trigger(tmp_path: Path) -> None:
    async with Place(f"sqlite:{tmp_path / 's.db'}").opened():
        with sqlite3.connect(tmp_path / "s.db") as other:
            found = other.execute("SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchall()
        other.close()
    assert found == []


def test_a_statement_has_no_more_values_than_the_connection_allows() -> None:
    db = sqlite3.connect(":memory:")
    db.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    most = batch.most_rows(db)
    db.close()
    assert 2 <= most * batch.WIDTH <= 999
