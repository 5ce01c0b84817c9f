"""A program that ends does not wait for a server that does not answer."""

from __future__ import annotations

import anyio
import pytest

from orchestrator import Shard, Status, StoreError
from orchestrator.storage.base import SILENT_S
from orchestrator.storage.records import Save
from tests.storage.postgresql.test_outages import Far, far
from tests.support.stores import OTHER, RUN, checkpoint


async def refused(it: Far, shard: Shard) -> None:
    """A save that gives up before its time-out."""
    with anyio.fail_after(60), pytest.raises(StoreError, match=r"answer.*nothing is lost"):
        await it.store.save(Save(shard, checkpoint(0), []))


async def give_up(it: Far) -> None:
    """Give up as soon as that is possible."""
    with anyio.fail_after(60):
        while it.store.silent_s < SILENT_S:
            await anyio.sleep(0.05)
    assert it.store.give_up()


@pytest.mark.parametrize("how", ["away", "deaf"])
async def test_work_that_waits_for_a_server_fails_at_once_and_so_does_later_work(postgresql_url: str, how: str) -> None:
    async with far(postgresql_url, timeout_s=600) as it:
        shard = await it.store.claim(RUN, 0, OTHER, 30)
        if how == "away":
            it.relay.shut = True
            it.relay.cut()
        else:
            it.relay.deaf_after = b""  # the server answers, and nothing arrives
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(refused, it, shard)
            await give_up(it)
        await refused(it, shard)


async def test_a_server_that_answers_is_not_given_up(postgresql_url: str) -> None:
    async with far(postgresql_url) as it:
        shard = await it.store.claim(RUN, 0, OTHER, 30)
        assert it.store.silent_s < SILENT_S
        assert not it.store.give_up()
        await it.store.save(Save(shard, checkpoint(0), []))
        assert await it.store.counts(RUN) == {(Status.RUNNING, "one"): 1}
