"""Fencing: a writer with an outdated epoch writes nothing."""

from __future__ import annotations

import anyio
import pytest

from orchestrator import RunStatus, Shard, StaleEpochError
from orchestrator.storage.records import Save
from tests.support.stores import OTHER, RUN, Place, checkpoint, event


async def test_a_write_of_an_older_epoch_is_refused(place: Place) -> None:
    async with place.opened() as store:
        old = await store.claim(RUN, 0, OTHER, 30)
        new = await place.taken_over(store)
        await store.save(Save(new, checkpoint(0, body=b"new"), [event(0, 1)]))
        with pytest.raises(StaleEpochError):
            await store.save(Save(old, checkpoint(0, body=b"old"), [event(0, 2)]))
        with pytest.raises(StaleEpochError):
            await store.renew(old, 30)
        with pytest.raises(StaleEpochError):
            await store.set_run_status(old, RunStatus.FINISHED)
        await store.release([old])
        assert (await store.load(RUN))[0].body == b"new"
        assert len(await store.events(RUN, 0)) == 1
        assert (await store.shards(RUN))[0].owner == OTHER.dumps()


async def test_a_stale_save_does_not_take_others_with_it(place: Place) -> None:
    async with place.opened() as store:
        old = await store.claim(RUN, 0, OTHER, 30)
        new = await place.taken_over(store)
        refused = []

        async def save(shard: Shard, number: int) -> None:
            try:
                await store.save(Save(shard, checkpoint(number), []))
            except StaleEpochError:
                refused.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(save, old if number % 2 else new, number)
        assert sorted(refused) == [1, 3]
        assert [row.number for row in await store.load(RUN)] == [0, 2, 4]
