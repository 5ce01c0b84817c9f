"""Claims: leases, epochs, and the status of a run that follows from its shards."""

from __future__ import annotations

import pytest

from orchestrator import LeaseHeldError, RunStatus
from orchestrator.storage.lease import this_process
from tests.support.stores import NOW, OTHER, RUN, Place, record


async def test_a_claim_raises_the_epoch_and_is_refused_while_a_lease_runs(place: Place) -> None:
    async with place.opened() as store:
        first = await store.claim(RUN, 0, OTHER, 30)
        assert first.epoch == 1
        with pytest.raises(LeaseHeldError, match="process 7 on elsewhere") as held:
            place.clock.time += 29
            await store.claim(RUN, 0, OTHER, 30)
        assert held.value.until == NOW + 30
        place.clock.time += 2
        assert (await store.claim(RUN, 0, OTHER, 30)).epoch == 2


async def test_a_renewal_is_counted_by_the_clock_of_the_store(place: Place) -> None:
    async with place.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        place.clock.time += 20
        assert (await store.renew(shard, 30)).lease_until == NOW + 50
        place.clock.time += 29
        with pytest.raises(LeaseHeldError):
            await store.claim(RUN, 0, OTHER, 30)


async def test_a_release_lets_anybody_claim(place: Place) -> None:
    async with place.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.release([shard])
        assert (await store.claim(RUN, 0, OTHER, 30)).epoch == 2


async def test_a_run_is_made_with_the_shards_that_its_maker_drives(place: Place) -> None:
    async with place.opened() as store:
        new = record("261124-000000")
        claimed = await store.create_run(new, {}, shards=3, claim={0, 2}, owner=this_process(), lease_s=30)
        assert [(shard.index, shard.of, shard.epoch) for shard in claimed] == [(0, 3, 1), (2, 3, 1)]
        assert [shard.owner for shard in await store.shards(new.id)] == [this_process().dumps(), None, this_process().dumps()]


async def test_the_process_that_finishes_the_last_shard_finishes_the_run(place: Place) -> None:
    async with place.opened(shards=2) as store:
        one, two = await store.claim(RUN, 0, this_process(), 30), await store.claim(RUN, 1, this_process(), 30)
        assert await store.release([one], {0}, RunStatus.RUNNING) is RunStatus.RUNNING
        assert await store.release([two], {1}, RunStatus.RUNNING) is RunStatus.FINISHED
        assert (await store.run(RUN)).status is RunStatus.FINISHED
        assert [shard.done for shard in await store.shards(RUN)] == [True, True]


async def test_a_shard_that_was_taken_over_says_nothing_of_the_run(place: Place) -> None:
    async with place.opened() as store:
        old = await store.claim(RUN, 0, OTHER, 30)
        await place.taken_over(store, this_process())
        assert await store.release([old], {0}, RunStatus.RUNNING) is RunStatus.RUNNING
        assert [shard.done for shard in await store.shards(RUN)] == [False]
