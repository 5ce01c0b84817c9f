"""Checkpoints, and what is counted and found by them."""

from __future__ import annotations

import attrs
import pytest

from orchestrator import Shard, Status
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import Save
from tests.support.stores import NOW, OTHER, RUN, Place, checkpoint, event


async def test_no_status_is_none_of_them(place: Place) -> None:
    async with place.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.save(Save(shard, checkpoint(0), []))
        assert await store.load(RUN, []) == []
        assert len(await store.load(RUN)) == 1


async def test_checkpoints_are_replaced_counted_and_loaded_in_pages(place: Place) -> None:
    async with place.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number in (3, 0, 1):
            await store.save(Save(shard, checkpoint(number), [event(number, 1)]))
        await store.save(Save(shard, checkpoint(1, Status.COMPLETED, "completed"), [event(1, 2)]))
        assert [row.number for row in await store.load(RUN)] == [0, 1, 3]
        assert [row.number for row in await store.load(RUN, {Status.RUNNING}, after=0, limit=1)] == [3]
        assert await store.counts(RUN) == {(Status.RUNNING, "one"): 2, (Status.COMPLETED, "completed"): 1}
        assert [found.seq for found in await store.events(RUN, 1)] == [1, 2]
        assert (await store.events(RUN, 1))[0] == event(1, 1)


@pytest.mark.parametrize(
    ("index", "of", "total", "missing"),
    [
        (0, 1, 5, [1, 3]),
        (0, 1, 8, [1, 3, 5, 6, 7]),
        (0, 1, 1, []),
        (0, 2, 9, [6, 8]),
        (1, 2, 4, [1, 3]),
        (2, 3, 2, []),
        (1, 3, 5, [1]),
    ],
    ids=["between", "at the end", "none", "even", "odd", "a shard without instances", "a third"],
)
async def test_instances_that_were_not_admitted_are_found(
    place: Place, index: int, of: int, total: int, missing: list[int]
) -> None:
    async with place.opened(shards=of) as store:
        mine = Shard(run_id=RUN, index=index, of=of)
        assert [n for gap in await store.unadmitted(mine, total) for n in gap] == list(range(index, total, of))
        for number in (4, 0, 2):
            shard = await store.claim(RUN, number % of, this_process(), 30)
            await store.save(Save(shard, checkpoint(number), []))
            await store.release([shard])
        assert [n for gap in await store.unadmitted(mine, total) for n in gap] == missing


async def test_instances_of_some_statuses_are_read_in_order_and_in_pages(place: Place) -> None:
    statuses = [Status.COMPLETED, Status.FAILED, Status.RUNNING]
    async with place.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number in range(12):
            await store.save(Save(shard, checkpoint(number, statuses[number % 3]), []))
        wanted = {Status.FAILED, Status.COMPLETED}
        assert [row.number for row in await store.load(RUN, wanted, limit=4)] == [0, 1, 3, 4]
        assert [row.number for row in await store.load(RUN, wanted, after=4, limit=100)] == [6, 7, 9, 10]
        assert [row.number for row in await store.load(RUN, after=9)] == [10, 11]
        assert await store.load(RUN, set()) == []


async def test_effects_are_counted_by_kind_and_checkpoints_without_kinds_are_found(place: Place) -> None:
    async with place.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number, kinds in enumerate([("user", "scope"), None, (), ("user",), None, ("user", "scope")]):
            await store.save(Save(shard, attrs.evolve(checkpoint(number), effects=kinds), []))
        assert await store.effects(RUN) == {"user": 3, "scope": 2}
        assert [row.number for row in await store.uncounted(RUN)] == [1, 4]
        assert [row.number for row in await store.uncounted(RUN, after=1)] == [4]
        assert [row.number for row in await store.uncounted(RUN, limit=1)] == [1]
        assert [row.effects for row in await store.load(RUN)][:3] == [("user", "scope"), None, ()]
        await store.save(Save(shard, attrs.evolve(checkpoint(0), effects=()), []))
        assert await store.effects(RUN) == {"user": 2, "scope": 1}


async def test_the_oldest_in_each_state_is_of_those_that_have_not_ended(place: Place) -> None:
    async with place.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number, (status, position, at) in enumerate(
            [
                (Status.RUNNING, "one", NOW + 5),
                (Status.SUSPENDED, "one", NOW + 3),
                (Status.COMPLETED, "completed", NOW),
                (Status.ROLLING_BACK, "rolling_back", NOW + 1),
            ]
        ):
            await store.save(Save(shard, attrs.evolve(checkpoint(number, status, position), updated_at=at), []))
        assert await store.oldest(RUN) == {"one": (1, NOW + 3), "rolling_back": (3, NOW + 1)}
