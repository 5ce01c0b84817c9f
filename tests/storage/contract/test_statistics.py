"""Windows of statistics."""

from __future__ import annotations

import pytest

from orchestrator import StaleEpochError, Status, UnknownRunError
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import Save
from tests.support.stores import OTHER, RUN, Place, checkpoint


async def test_statistics_are_kept_in_order_replaced_and_dropped(place: Place) -> None:
    async with place.opened() as store:
        old = await store.claim(RUN, 0, OTHER, 30)
        await store.save_statistics([old], {2: b"two", 1: b"one"}, [], 1.0)
        await store.save_statistics([old], {1: b"one and two", 3: b"three"}, [2], 1.0)
        assert [row.body for row in await store.statistics(RUN)] == [b"one and two", b"three"]
        await place.taken_over(store)
        with pytest.raises(StaleEpochError):
            await store.save_statistics([old], {1: b"stale"}, [], 1.0)
        assert [row.body for row in await store.statistics(RUN)] == [b"one and two", b"three"]
        assert await store.statistics("261123-zzzzzz") == []


async def test_each_shard_has_its_own_claim_instances_and_statistics(place: Place) -> None:
    async with place.opened(shards=2) as store:
        even, odd = await store.claim(RUN, 0, OTHER, 30), await store.claim(RUN, 1, this_process(), 30)
        for number in range(6):
            await store.save(Save(odd if number % 2 else even, checkpoint(number), []))
        assert [row.number for row in await store.load(RUN, shard=odd)] == [1, 3, 5]
        assert [row.number for row in await store.load(RUN, {Status.RUNNING}, after=0, shard=even, limit=1)] == [2]
        await store.save_statistics([odd], {1: b"odd"}, [], 1.0)
        await store.save_statistics([even], {1: b"even"}, [], 1.0)
        assert [(row.shard, row.epoch, row.body) for row in await store.statistics(RUN)] == [(0, 1, b"even"), (1, 1, b"odd")]
        await store.save_statistics([even], {}, [1], 1.0)
        assert [row.body for row in await store.statistics(RUN)] == [b"odd"]
        with pytest.raises(UnknownRunError):
            await store.claim(RUN, 2, OTHER, 30)
