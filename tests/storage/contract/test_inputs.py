"""Rows: the input of instances, stored before their run."""

from __future__ import annotations

import attrs
import pytest

from orchestrator import RunStatus, Store, StoreError
from orchestrator.lifecycle.rows import Rows
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import STAGING_LIMIT_S
from tests.support.stores import OTHER, Place, record

GONE = attrs.evolve(this_process(), started="1")


async def created(store: Store, run_id: str = "with-rows", key: str = "k", **more: object) -> None:
    await store.create_run(record(run_id, rows=Rows(key=key, count=3, digest=""), **more), {})


async def test_rows_are_read_in_order_and_in_pages(place: Place) -> None:
    async with place.opened() as store:
        await store.add_rows("k", {0: b"a", 1: b"b"}, OTHER)
        await store.add_rows("k", {2: b"c"}, OTHER)
        await created(store)
        assert await store.rows("k") == [(0, b"a"), (1, b"b"), (2, b"c")]
        assert await store.rows("k", after=0, limit=1) == [(1, b"b")]
        assert await store.rows("k", after=2) == []
        assert await store.rows("unknown") == []
        assert (await store.run("with-rows")).rows == Rows(key="k", count=3, digest="")


async def test_a_run_whose_rows_are_missing_is_not_stored(place: Place) -> None:
    async with place.opened() as store:
        with pytest.raises(StoreError, match="the rows of run with-rows were deleted before it was stored; start it again"):
            await created(store)
        assert (await store.runs()).total == 1


async def test_two_runs_never_share_rows(place: Place) -> None:
    async with place.opened() as store:
        await store.add_rows("k", {0: b"a"}, OTHER)
        await created(store)
        with pytest.raises(StoreError, match="rows of run second"):
            await created(store, "second")


async def test_discarded_rows_are_gone_and_those_of_a_run_stay(place: Place) -> None:
    async with place.opened() as store:
        await store.add_rows("k", {0: b"a"}, OTHER)
        await store.add_rows("other", {0: b"b"}, OTHER)
        await created(store)
        await store.discard_rows("k")
        await store.discard_rows("other")
        await store.discard_rows("unknown")
        assert (await store.rows("k"), await store.rows("other")) == ([(0, b"a")], [])


async def test_rows_go_with_their_run(place: Place) -> None:
    async with place.opened() as store:
        await store.add_rows("k", {0: b"a"}, OTHER)
        await created(store, status=RunStatus.FINISHED)
        assert (await store.delete_run("with-rows")).obstacle() is None
        await store.sweep()
        assert await store.rows("k") == []


async def test_rows_of_a_start_that_may_go_on_survive_a_sweep(place: Place) -> None:
    async with place.opened() as store:
        await store.add_rows("mine", {0: b"a"}, this_process())
        await store.add_rows("theirs", {0: b"b"}, OTHER)
        await store.sweep()
        await created(store, "one", "mine")
        await created(store, "two", "theirs")
        assert (await store.rows("mine"), await store.rows("theirs")) == ([(0, b"a")], [(0, b"b")])


@pytest.mark.parametrize(
    "place", ["sqlite", "postgresql"], indirect=True
)  # a store in memory ends with the process that starts a run
async def test_a_sweep_deletes_the_rows_of_starts_that_were_killed(place: Place) -> None:
    async with place.opened() as store:
        await store.add_rows("gone", dict.fromkeys(range(10001), b"a"), GONE)
        await store.add_rows("old", {0: b"b"}, OTHER)
        await store.sweep()
        assert [await store.rows(key) for key in ("gone", "old")] == [[], [(0, b"b")]]
        place.clock.time += STAGING_LIMIT_S
        await store.add_rows("new", {0: b"c"}, OTHER)
        await store.sweep()
        assert [await store.rows(key) for key in ("old", "new")] == [[], [(0, b"c")]]
