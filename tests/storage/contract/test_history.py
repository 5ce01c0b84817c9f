"""The history of an instance."""

from __future__ import annotations

from orchestrator.storage.records import HISTORY_HEAD, HISTORY_TAIL, Save
from tests.support.stores import OTHER, RUN, Place, checkpoint, event


async def test_the_history_of_an_instance_keeps_its_beginning_and_its_end(place: Place) -> None:
    async with place.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for seq in range(1, 1001):
            await store.save(Save(shard, checkpoint(0), [event(0, seq)]))
        kept = [e.seq for e in await store.events(RUN, 0)]
        assert kept == [*range(1, HISTORY_HEAD + 1), *range(1001 - HISTORY_TAIL, 1001)]
