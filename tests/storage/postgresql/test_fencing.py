"""The fence inside the statement of a batch, seen from another connection that holds it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from orchestrator import Shard, StaleEpochError, open_store
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import Save
from tests.support.stores import OTHER, RUN, Place, checkpoint, event
from tests.support.waiting import until


@pytest.fixture
def place(postgresql_url: str) -> Place:
    """An empty place in PostgreSQL."""
    return Place(postgresql_url)


@asynccontextmanager
async def raw(place: Place) -> AsyncIterator[Any]:
    """A connection beside those of the store, in the store's schema."""
    import asyncpg

    url, _, schema = place.url.partition("&schema=")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"SET search_path = {schema}")
        yield connection
    finally:
        await connection.close()


async def blocked(db: Any) -> set[int]:
    """The server processes that wait for a lock that ``db`` holds, or for one another."""
    await db.execute("SELECT pg_stat_clear_snapshot()")
    rows = await db.fetch(
        "WITH waiting AS (SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))) "
        "SELECT pid FROM pg_stat_activity WHERE pid IN (SELECT pid FROM waiting) "
        "OR pg_blocking_pids(pid) && (SELECT array_agg(pid) FROM waiting)"
    )
    return {row["pid"] for row in rows}


async def waiting(db: Any, number: int, done: Callable[[], bool] = lambda: False) -> None:
    """Wait until so many server processes wait for ``db``."""

    async def met() -> bool:
        return done() or len(await blocked(db)) >= number

    await until(met)


async def test_a_claim_waits_for_a_batch_that_is_being_written(place: Place) -> None:
    async with place.opened() as store, open_store(place.url, clock=place.clock) as other, raw(place) as db:
        old = await store.claim(RUN, 0, OTHER, 30)
        await store.save(Save(old, checkpoint(0, body=b"early"), [event(0, 1)]))
        place.clock.time += 31
        transaction = db.transaction()
        await transaction.start()
        await db.execute("SELECT 1 FROM instances FOR UPDATE")
        late = asyncio.ensure_future(store.save(Save(old, checkpoint(0, body=b"late"), [event(0, 2)])))
        await waiting(db, 1)
        claim = asyncio.ensure_future(other.claim(RUN, 0, this_process(), 30))
        await waiting(db, 2, claim.done)
        assert not claim.done(), "the batch would be written after the claim"
        await transaction.rollback()
        await late
        assert (await claim).epoch == 2
        assert [row.body for row in await other.load(RUN)] == [b"late"]


async def test_a_batch_that_waited_for_a_claim_is_refused(place: Place) -> None:
    async with place.opened(shards=2) as store, raw(place) as db:
        shards = [await store.claim(RUN, index, OTHER, 30) for index in range(2)]
        refused = []

        async def save(shard: Shard, number: int) -> None:
            try:
                await store.save(Save(shard, checkpoint(number), [event(number, 1)]))
            except StaleEpochError:
                refused.append(number)

        transaction = db.transaction()
        await transaction.start()
        await db.execute("UPDATE shards SET epoch = epoch + 1 WHERE shard = 0")
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(save, shards[number % 2], number)
            await waiting(db, 1)
            await transaction.commit()
        assert sorted(refused) == [0, 2]
        assert [row.number for row in await store.load(RUN)] == [1, 3]
