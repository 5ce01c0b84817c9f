"""A server that cannot be reached, and answers that are lost: what was committed is neither lost nor done twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import attrs
import pytest

from orchestrator import LeaseHeldError, RunStatus, Shard, StaleEpochError, Status, Store, StoreError, UnknownRunError, open_store
from orchestrator.storage.lease import this_process
from orchestrator.storage.records import Save
from tests.storage.postgresql.test_fencing import blocked, raw, waiting
from tests.support.relay import Relay, relay
from tests.support.stores import OTHER, RUN, Place, checkpoint, event, record
from tests.support.waiting import until

T = TypeVar("T")


@attrs.define
class Far:
    """A store behind a relay, and the same store without it."""

    place: Place
    relay: Relay
    store: Store
    near: Store

    async def unanswered(
        self, work: Callable[[], Awaitable[T]], committed: Callable[[], Awaitable[Any]], sends: bytes = b"COMMIT"
    ) -> T:
        """Do ``work``, and lose the answer to the message in which it first sends these bytes, after it was committed."""
        results: list[T] = []
        self.relay.deaf_after = sends
        async with anyio.create_task_group() as tasks:

            async def do() -> None:
                results.append(await work())

            tasks.start_soon(do)
            await until(committed)
            self.relay.cut()
        return results[0]

    async def epoch(self) -> int:
        """The epoch of the first shard."""
        return (await self.near.shards(RUN))[0].epoch


def socket_of(url: str) -> str:
    """The path of the server's socket."""
    return str(Path(url.partition("host=")[2].partition("&")[0]) / ".s.PGSQL.5432")


@asynccontextmanager
async def far(url: str, timeout_s: float = 30.0) -> AsyncIterator[Far]:
    """Open a store behind a relay, with the run ``RUN`` in it."""
    if "host=/" not in url:
        pytest.skip("the server of TEST_POSTGRESQL is not reached by a socket")
    place = Place(url)
    async with place.opened() as near, relay(socket_of(url)) as between:
        user, _, schema = url.partition("&schema=")
        behind = f"{user.partition('?')[0].replace('@/', f'@127.0.0.1:{between.port}/')}?sslmode=disable&schema={schema}"
        async with open_store(behind, clock=place.clock, timeout_s=timeout_s) as store:
            yield Far(place, between, store, near)


async def test_a_save_without_an_answer_is_stored_once(postgresql_url: str) -> None:
    async with far(postgresql_url) as it:
        shard = await it.store.claim(RUN, 0, OTHER, 30)
        save = Save(shard, attrs.evolve(checkpoint(0, body=b"x"), evidence=b"sealed"), [event(0, 1)])
        await it.unanswered(lambda: it.store.save(save), lambda: it.near.load(RUN), sends=b"sealed")
        assert [row.body for row in await it.near.load(RUN)] == [b"x"]
        assert [found.seq for found in await it.near.events(RUN, 0)] == [1]
        assert await it.near.evidence(RUN, 0) == [b"sealed"]
        await it.store.save(Save(shard, checkpoint(0, body=b"y"), [event(0, 2)]))
        assert [row.body for row in await it.near.load(RUN)] == [b"y"]


async def test_a_claim_without_an_answer_is_ours(postgresql_url: str) -> None:
    async with far(postgresql_url) as it:
        shard = await it.unanswered(
            lambda: it.store.claim(RUN, 0, this_process(), 30), it.epoch, sends=this_process().dumps().encode()
        )
        assert shard == (await it.near.shards(RUN))[0]
        assert shard.epoch == 1
        await it.store.save(Save(shard, checkpoint(0), []))


async def test_a_claim_without_an_answer_does_not_take_a_shard_from_another_process(postgresql_url: str) -> None:
    async with far(postgresql_url) as it:
        await it.near.claim(RUN, 0, OTHER, 30)
        it.relay.cut()
        with pytest.raises(LeaseHeldError, match="process 7 on elsewhere"):
            await it.store.claim(RUN, 0, this_process(), 30)
        assert await it.epoch() == 1


async def test_a_run_whose_creation_had_no_answer_is_created_once(postgresql_url: str) -> None:
    async with far(postgresql_url) as it:

        async def create() -> list[Shard]:
            return await it.store.create_run(record("new"), {}, shards=2, claim=[0, 1], owner=this_process(), lease_s=30)

        async def created() -> bool:
            return len(await it.near.shards("new")) == 2

        claimed = await it.unanswered(create, created)
        assert claimed == await it.near.shards("new")
        assert [shard.epoch for shard in claimed] == [1, 1]


async def test_a_deletion_without_an_answer_is_reported_as_done(postgresql_url: str) -> None:
    async def gone() -> bool:
        try:
            await it.near.run("old")
        except UnknownRunError:
            return True
        return False

    async with far(postgresql_url) as it:
        await it.near.create_run(record("old", status=RunStatus.FINISHED), {})
        assert (await it.unanswered(lambda: it.store.delete_run("old"), gone)).obstacle() is None


async def test_added_rows_without_an_answer_are_there_once(postgresql_url: str) -> None:
    async with far(postgresql_url) as it:
        rows = {0: b"zero", 1: b"one"}
        await it.unanswered(lambda: it.store.add_rows("key", rows, this_process()), lambda: it.near.rows("key"))
        assert await it.near.rows("key") == list(rows.items())


async def test_a_release_without_an_answer_finishes_the_run(postgresql_url: str) -> None:
    async def finished() -> bool:
        return (await it.near.run(RUN)).status is RunStatus.FINISHED

    async with far(postgresql_url) as it:
        shard = await it.store.claim(RUN, 0, this_process(), 30)
        status = await it.unanswered(lambda: it.store.release([shard], [0], RunStatus.RUNNING), finished)
        assert status is RunStatus.FINISHED


async def test_a_batch_that_the_server_still_writes_is_ended_before_it_is_repeated(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it could be committed after a later checkpoint, which it would replace by an older one."""
    monkeypatch.setitem(_settings(), "lock_timeout", "1h")
    async with far(postgresql_url) as it, raw(it.place) as db:
        shard = await it.store.claim(RUN, 0, OTHER, 30)
        await it.store.save(Save(shard, checkpoint(0, body=b"0"), [event(0, 1)]))
        transaction = db.transaction()
        await transaction.start()
        await db.execute("SELECT 1 FROM instances FOR UPDATE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.store.save, Save(shard, checkpoint(0, body=b"1"), [event(0, 2)]))
            await waiting(db, 1)
            [first] = await blocked(db)
            it.relay.cut()

            async def another_is_blocked() -> bool:
                return not await blocked(db) <= {first}

            await until(another_is_blocked)
            assert await db.fetchval("SELECT 1 FROM pg_stat_activity WHERE pid = $1", first) is None
            await transaction.rollback()
        assert [row.body for row in await it.near.load(RUN)] == [b"1"]


async def test_saves_wait_for_a_server_that_is_away_and_none_is_lost(
    postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with far(postgresql_url) as it:
        shard = await it.store.claim(RUN, 0, OTHER, 30)
        it.relay.shut = True
        it.relay.cut()
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(it.store.save, Save(shard, checkpoint(number), [event(number, 1)]))
            await until(lambda: caplog.records)  # it says that the server is away
            assert await it.near.load(RUN) == []
            it.relay.shut = False
        assert len(await it.near.load(RUN)) == 20
        assert await it.store.counts(RUN) == {(Status.RUNNING, "one"): 20}
    away, back = (found.getMessage() for found in caplog.records)
    assert "does not answer (" in away
    assert away.endswith("waiting for up to 30 s")
    assert "answers again after " in back


async def test_a_server_that_stays_away_is_an_error_after_the_time_out_and_no_end(postgresql_url: str) -> None:
    async with far(postgresql_url, timeout_s=0.2) as it:
        shard = await it.store.claim(RUN, 0, OTHER, 30)
        it.relay.shut = True
        it.relay.cut()
        for _ in range(2):
            with pytest.raises(StoreError, match=r"has not answered for 0\.2 s .*nothing is lost"):
                await it.store.save(Save(shard, checkpoint(0), []))
        it.relay.shut = False
        await it.store.save(Save(shard, checkpoint(0), []))
        assert len(await it.near.load(RUN)) == 1


async def test_a_lock_that_another_program_holds_is_an_error_after_the_time_out(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_settings(), "lock_timeout", "50ms")
    async with far(postgresql_url, timeout_s=0.3) as it, raw(it.place) as db:
        shard = await it.store.claim(RUN, 0, OTHER, 30)
        async with db.transaction():
            await db.execute("LOCK TABLE shards")
            with pytest.raises(StoreError, match=r"has been locked for 0\.3 s"):
                await it.store.save(Save(shard, checkpoint(0), []))
        await it.store.save(Save(shard, checkpoint(0), []))


def _settings() -> dict[str, str]:
    from orchestrator.storage.postgresql import opening

    return opening._SETTINGS


async def test_a_deadlock_is_repeated(postgresql_url: str) -> None:
    async with far(postgresql_url) as it, raw(it.place) as db:
        shard = await it.store.claim(RUN, 0, OTHER, 30)
        await it.store.save(Save(shard, checkpoint(0, body=b"0"), [event(0, 1)]))
        transaction = db.transaction()
        await transaction.start()
        await db.execute("SET deadlock_timeout = '1h'")  # so that the server ends the batch
        await db.execute("SELECT 1 FROM instances FOR UPDATE")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(it.store.save, Save(shard, checkpoint(0, body=b"1"), [event(0, 2)]))
            await waiting(db, 1)
            await db.execute("UPDATE shards SET elapsed = 7")
            await transaction.commit()
        assert [row.body for row in await it.near.load(RUN)] == [b"1"]
        assert (await it.near.shards(RUN))[0].elapsed == 7


async def test_a_process_that_is_frozen_in_a_transaction_loses_its_locks_and_repeats_it(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_settings(), "idle_in_transaction_session_timeout", "100ms")
    async with far(postgresql_url) as it, open_store(postgresql_url, clock=it.place.clock) as frozen:
        shard = await it.near.claim(RUN, 0, this_process(), 30)
        attempts = 0

        async def freeze(link: Any) -> None:
            nonlocal attempts
            attempts += 1
            await link.db.execute("SELECT 1 FROM runs FOR UPDATE")
            if attempts == 1:
                # It waits for our lock, which the server takes away.
                await it.near.release([shard], [0], RunStatus.RUNNING)
            await link.db.execute("UPDATE runs SET workflow = 'thawed'")

        await frozen._writer.transaction(freeze)
        assert attempts == 2
        assert (await it.near.run(RUN)).status is RunStatus.FINISHED


async def test_a_large_transaction_is_stored_as_a_whole_or_not_at_all(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.storage.postgresql.saving.SAVES_AT_ONCE", 3)
    async with Place(postgresql_url).opened(shards=2) as store:
        one, two = [await store.claim(RUN, index, OTHER, 30) for index in (0, 1)]
        saves = [Save(one, checkpoint(number), [event(number, 1)]) for number in range(0, 20, 2)]
        stale = Save(attrs.evolve(two, epoch=9), checkpoint(21), [])
        with pytest.raises(StaleEpochError):
            await store.save_all(one, [*saves, stale], RunStatus.RETRYING)
        assert await store.load(RUN) == []
        assert (await store.run(RUN)).status is RunStatus.RUNNING
        await store.save_all(one, saves, RunStatus.RETRYING)
        assert len(await store.load(RUN)) == 10
        assert (await store.run(RUN)).status is RunStatus.RETRYING
