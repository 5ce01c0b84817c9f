"""The store in memory."""

from __future__ import annotations

import tracemalloc

import orjson

from orchestrator.storage.records import Save
from tests.support.stores import OTHER, RUN, Place, checkpoint, event


async def test_a_store_in_memory_keeps_no_more_than_the_bodies() -> None:
    def save(number: int) -> Save:
        return Save(shard, checkpoint(number, body=orjson.dumps(list(range(1000)))), (event(number, 1),))

    async with Place("memory:").opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.save(save(0))  # imports its dependencies
        tracemalloc.start()
        try:
            for number in range(1, 51):
                await store.save(save(number))
            kept = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert kept < 2 * sum(len(row.body) for row in await store.load(RUN))
