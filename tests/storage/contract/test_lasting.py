"""Stores that outlive their process: reopening, several writers, values that cannot be stored."""

from __future__ import annotations

import anyio
import attrs
import pytest

from orchestrator import Event, LeaseHeldError, Shard, StaleEpochError, StoreError, open_store
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import Save
from tests.support.stores import OTHER, RUN, Place, checkpoint, event, record


async def test_a_save_that_cannot_be_stored_does_not_take_others_with_it(lasting: Place) -> None:
    odd = attrs.evolve(event(1, 1), code=object())
    async with lasting.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        failed: list[str] = []

        async def save(number: int, event: Event) -> None:
            try:
                await store.save(Save(shard, checkpoint(number), [event]))
            except StoreError as error:
                failed.append(str(error))

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(save, number, odd if number == 1 else event(number, 1))
        assert len(failed) == 1
        assert f"instance {RUN}-1 cannot be stored" in failed[0]
        assert [row.number for row in await store.load(RUN)] == [0, 2, 3, 4]
        assert [len(await store.events(RUN, number)) for number in range(5)] == [1, 0, 1, 1, 1]


async def test_a_nul_in_an_answer_of_the_tenant_does_not_stop_an_instance(lasting: Place) -> None:
    async with lasting.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.save(Save(shard, checkpoint(0), [attrs.evolve(event(0, 1), error="bad \0 body")]))
        [found] = await store.events(RUN, 0)
        assert found.error is not None
        assert found.error.replace("\0", "\ufffd") == "bad \ufffd body"


async def test_everything_is_there_after_reopening(lasting: Place) -> None:
    async with lasting.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.save(Save(shard, checkpoint(2, body=b"kept"), [event(2, 1)]))
    async with open_store(lasting.url, create=False) as store:
        assert (await store.load(RUN))[0].body == b"kept"
        assert (await store.shards(RUN))[0].epoch == 1


async def test_a_store_that_must_be_there_is_not_made(lasting: Place) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match="nothing has been run with it"):
            async with open_store(lasting.url, create=False):
                pass


async def test_a_store_that_is_closed_finishes_its_saves_first(lasting: Place) -> None:
    async with anyio.create_task_group() as tasks, lasting.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number in range(9):
            tasks.start_soon(store.save, Save(shard, checkpoint(number), [event(number, 1)]))
        await anyio.sleep(0)
    async with open_store(lasting.url) as store:
        assert len(await store.load(RUN)) == 9


async def test_an_instance_can_be_saved_twice_at_once(lasting: Place) -> None:
    async with lasting.opened() as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        async with anyio.create_task_group() as tasks:
            for seq in range(1, 6):
                tasks.start_soon(store.save, Save(shard, checkpoint(0, body=b"%d" % seq), [event(0, seq)]))
        assert (await store.load(RUN))[0].body == b"5"
        assert [found.seq for found in await store.events(RUN, 0)] == [1, 2, 3, 4, 5]


async def test_of_many_claims_at_once_one_wins(lasting: Place) -> None:
    won: list[Shard] = []
    async with lasting.opened():

        async def claim() -> None:
            async with open_store(lasting.url, clock=lasting.clock) as store:
                try:
                    won.append(await store.claim(RUN, 0, OTHER, 30))
                except LeaseHeldError:
                    pass

        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(claim)
    assert [shard.epoch for shard in won] == [1]


async def test_of_many_stores_that_open_at_once_each_finds_the_schema(lasting: Place) -> None:
    async def create(name: str) -> None:
        async with open_store(lasting.url) as store:
            await store.create_run(record(name), {})

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(create, f"run-{number}")
    async with open_store(lasting.url) as store:
        assert (await store.runs()).total == 5


async def test_no_writer_writes_after_a_claim(lasting: Place) -> None:
    """Writers with old epochs race against claims, through another connection: what they have written is older than the claim."""
    rounds, stop, refused = 30, anyio.Event(), 0
    async with lasting.opened() as store, open_store(lasting.url, clock=lasting.clock) as other:
        current = await store.claim(RUN, 0, OTHER, 30)

        async def hammer(number: int) -> None:
            nonlocal refused
            seq, shard = 0, current
            while not stop.is_set():
                seq += 1
                try:
                    await store.save(Save(shard, checkpoint(number, body=b"%d" % shard.epoch), [event(number, seq)]))
                except StaleEpochError:
                    refused += 1
                    shard = current

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(hammer, number)
            for _ in range(rounds):
                await anyio.sleep(0.005)  # saves of the current epoch race with the claim
                lasting.clock.time += 31
                claimed = await other.claim(RUN, 0, this_process(), 30)
                before = {row.number: row.body for row in await other.load(RUN)}
                await anyio.sleep(0.005)  # time in which a stale save could be written
                assert {row.number: row.body for row in await other.load(RUN)} == before
                assert all(int(body) < claimed.epoch for body in before.values())
                current = claimed
            stop.set()
        assert refused >= rounds
