"""The contract of a store, on every back end."""

from __future__ import annotations

import os
import sqlite3
import stat
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import orjson
import pytest

from orchestrator import (
    Checkpoint,
    Event,
    EventKind,
    LeaseHeldError,
    OnFailure,
    OnSuccess,
    RunRecord,
    RunStatus,
    SettingError,
    Shard,
    StaleEpochError,
    Status,
    Store,
    StoreError,
    UnknownRunError,
    Vault,
    open_store,
)
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.base import HISTORY_HEAD, HISTORY_TAIL, Save, claimed, outdated_event, run_status
from orchestrator.storage.commits import GroupCommit, Writer
from orchestrator.storage.lease import Owner, is_gone, this_process
from orchestrator.storage.schema import APPLICATION_ID, MIGRATIONS

RUN = "261123-000000"
NOW = 1_000_000.0
OTHER = Owner(host="elsewhere", boot_id="b", pid=7, started="1")


def record(run_id: str = RUN, **more: Any) -> RunRecord:
    base = RunRecord(
        id=run_id,
        workflow="toy",
        version=1,
        definition="d1",
        status=RunStatus.RUNNING,
        scenario=Scenario(instances=5, concurrency=2),
        settings={"workflow": {"a": 1}},
        on_failure=OnFailure.ROLLBACK,
        on_success=OnSuccess.KEEP,
        rates={"configuration": 3.5},
        key_id="k",
        created_at=NOW,
        updated_at=NOW,
    )
    return attrs.evolve(base, **more)


def checkpoint(
    number: int, status: Status = Status.RUNNING, position: str = "one", run_id: str = RUN, body: bytes = b"{}"
) -> Checkpoint:
    return Checkpoint(run_id=run_id, number=number, status=status, position=position, updated_at=NOW, not_before=None, body=body)


def event(number: int, seq: int) -> Event:
    return Event(
        run_id=RUN,
        number=number,
        kind=EventKind.MOVED,
        at=NOW,
        state="one",
        outcome="done",
        target="two",
        duration_s=0.5,
        seq=seq,
    )


class StoreClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time


async def taken_over(store: Store, owner: Owner = OTHER) -> Shard:
    """The shard, claimed after the lease of its owner has expired."""
    store._clock.time += 31  # type: ignore[attr-defined]
    return await store.claim(RUN, 0, owner, 30)


@asynccontextmanager
async def opened(kind: str, path: Path, clock: StoreClock | None = None, shards: int = 1) -> AsyncIterator[Store]:
    async with open_store("memory:" if kind == "memory" else f"sqlite:{path}", clock=clock or StoreClock()) as store:
        await store.create_run(record(), {"one": "f1"}, shards=shards)
        yield store


BACK_ENDS = pytest.mark.parametrize("kind", ["memory", "sqlite"])


@BACK_ENDS
async def test_a_run_is_read_back_as_it_was_stored(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        assert await store.run(RUN) == record()
        assert await store.fingerprints("d1") == {"one": "f1"}
        assert await store.fingerprints("unknown") == {}
        with pytest.raises(UnknownRunError, match="261123-zzzzzz"):
            await store.run("261123-zzzzzz")


@BACK_ENDS
async def test_runs_come_newest_first(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        await store.create_run(record("261124-000000", created_at=NOW + 1), {})
        assert [run.id for run in await store.runs()] == ["261124-000000", RUN]
        assert len(await store.runs(1)) == 1


@BACK_ENDS
async def test_an_unfinished_run_is_found_behind_any_number_of_finished_ones(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        for number in range(150):
            newer = record(f"261124-{number:06}", status=RunStatus.FINISHED, created_at=NOW + 1 + number)
            await store.create_run(newer, {})
        assert [run.id for run in await store.runs(1, {RunStatus.RUNNING, RunStatus.INTERRUPTED})] == [RUN]
        assert len(await store.runs(1000)) == 151


@BACK_ENDS
async def test_a_claim_raises_the_epoch_and_is_refused_while_a_lease_runs(kind: str, tmp_path: Path) -> None:
    clock = StoreClock()
    async with opened(kind, tmp_path / "s.db", clock) as store:
        first = await store.claim(RUN, 0, OTHER, 30)
        assert first.epoch == 1
        with pytest.raises(LeaseHeldError, match="process 7 on elsewhere") as held:
            clock.time += 29
            await store.claim(RUN, 0, OTHER, 30)
        assert held.value.until == NOW + 30
        clock.time += 2
        assert (await store.claim(RUN, 0, OTHER, 30)).epoch == 2


@BACK_ENDS
async def test_a_renewal_is_counted_by_the_clock_of_the_store(kind: str, tmp_path: Path) -> None:
    clock = StoreClock()
    async with opened(kind, tmp_path / "s.db", clock) as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        clock.time += 20
        assert (await store.renew(shard, 30)).lease_until == NOW + 50
        clock.time += 29
        with pytest.raises(LeaseHeldError):
            await store.claim(RUN, 0, OTHER, 30)


def test_a_lease_is_claimed_when_it_has_run_out_or_its_owner_is_gone() -> None:
    me, free = this_process(), Shard(run_id=RUN, epoch=3)
    mine = claimed(free, me, 30, NOW)
    assert (mine.epoch, mine.owner, mine.lease_until) == (4, me.dumps(), NOW + 30)
    with pytest.raises(LeaseHeldError):
        claimed(mine, OTHER, 30, NOW + 29.9)
    assert claimed(mine, OTHER, 30, NOW + 30).epoch == 5
    gone = attrs.evolve(mine, owner=attrs.evolve(me, started="1").dumps())
    assert claimed(gone, OTHER, 30, NOW).epoch == 5


def test_a_history_loses_the_events_between_its_beginning_and_its_end() -> None:
    assert [outdated_event(seq) for seq in (1, 200, 201, 1000)] == [None, None, 101, 900]


@BACK_ENDS
async def test_what_an_older_epoch_writes_is_refused(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        old = await store.claim(RUN, 0, OTHER, 30)
        new = await taken_over(store)
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


@BACK_ENDS
async def test_a_stale_save_does_not_take_others_with_it(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        old = await store.claim(RUN, 0, OTHER, 30)
        new = await taken_over(store)
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


async def test_a_save_that_cannot_be_stored_does_not_take_others_with_it(tmp_path: Path) -> None:
    odd = attrs.evolve(event(1, 1), code=object())
    async with opened("sqlite", tmp_path / "s.db") as store:
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


async def test_a_store_in_memory_keeps_no_more_than_the_bodies(tmp_path: Path) -> None:
    def save(number: int) -> Save:
        return Save(shard, checkpoint(number, body=orjson.dumps(list(range(1000)))), (event(number, 1),))

    async with opened("memory", tmp_path / "s.db") as store:
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


@BACK_ENDS
async def test_no_status_is_none_of_them(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.save(Save(shard, checkpoint(0), []))
        assert await store.load(RUN, []) == []
        assert len(await store.load(RUN)) == 1


async def test_a_store_that_is_closed_finishes_its_saves_first(tmp_path: Path) -> None:
    async with anyio.create_task_group() as tasks, opened("sqlite", tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number in range(9):
            tasks.start_soon(store.save, Save(shard, checkpoint(number), [event(number, 1)]))
        await anyio.sleep(0)
    async with open_store(f"sqlite:{tmp_path / 's.db'}") as store:
        assert len(await store.load(RUN)) == 9


@BACK_ENDS
async def test_a_release_lets_anybody_claim(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.release([shard])
        assert (await store.claim(RUN, 0, OTHER, 30)).epoch == 2


@BACK_ENDS
async def test_checkpoints_are_replaced_counted_and_loaded_in_pages(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number in (3, 0, 1):
            await store.save(Save(shard, checkpoint(number), [event(number, 1)]))
        await store.save(Save(shard, checkpoint(1, Status.COMPLETED, "completed"), [event(1, 2)]))
        assert [row.number for row in await store.load(RUN)] == [0, 1, 3]
        assert [row.number for row in await store.load(RUN, {Status.RUNNING}, after=0, limit=1)] == [3]
        assert await store.counts(RUN) == {(Status.RUNNING, "one"): 2, (Status.COMPLETED, "completed"): 1}
        assert [found.seq for found in await store.events(RUN, 1)] == [1, 2]
        assert (await store.events(RUN, 1))[0] == event(1, 1)


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.save(Save(shard, checkpoint(2, body=b"kept"), [event(2, 1)]))
    async with open_store(str(tmp_path / "s.db")) as store:
        assert (await store.load(RUN))[0].body == b"kept"
        assert (await store.shards(RUN))[0].epoch == 1


async def test_the_file_is_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "s.db"
    async with opened("sqlite", path):
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        db.close()


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()


def store_of_version(version: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        async def opened() -> None:
            async with open_store(str(path)):
                pass

        anyio.run(opened)
        with sqlite3.connect(path) as db:
            db.execute(f"PRAGMA user_version = {version}")
        db.close()

    return make


WRONG_FILES = {
    "a text file": (lambda path: path.write_text("not a database, but long enough to look at" * 20), "not a store"),
    "somebody's database": (foreign_database, "not a store of this program"),
    "a newer schema": (store_of_version(99), "schema version 99"),
    "an impossible schema": (store_of_version(-1), "schema version -1"),
    "a folder": (lambda path: path.mkdir(), "is a folder: name a file in it"),
}


@pytest.mark.parametrize("case", list(WRONG_FILES))
def test_a_file_that_is_no_store_is_refused_by_name(case: str, tmp_path: Path) -> None:
    make, message = WRONG_FILES[case]
    path = tmp_path / "s.db"
    make(path)

    async def use() -> None:
        async with open_store(str(path)):
            pass

    with pytest.raises((StoreError, SettingError), match=message) as refused:
        anyio.run(use)
    assert str(path) in str(refused.value)


async def test_a_store_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nothing has been run"):
        async with open_store(str(tmp_path / "s.db"), create=False):
            pass
    assert not (tmp_path / "s.db").exists()


async def test_a_locked_store_names_who_may_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.storage.sqlite.BUSY_TIMEOUT_S", 0.05)
    async with opened("sqlite", tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        blocker = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"locked .*process 7 on elsewhere"):
            await store.save(Save(shard, checkpoint(0), []))
        shard = await _taken_by_us(store, blocker, shard)
        with pytest.raises(StoreError, match=r"locked .*another program has it open"):
            await store.save(Save(shard, checkpoint(0), []))
        blocker.execute("ROLLBACK")
        blocker.close()
        await store.save(Save(shard, checkpoint(0), []))


async def _taken_by_us(store: Store, blocker: sqlite3.Connection, shard: Shard) -> Shard:
    blocker.execute("ROLLBACK")
    claimed = await taken_over(store, this_process())
    blocker.execute("BEGIN IMMEDIATE")
    return claimed


async def test_a_full_store_says_so_and_keeps_what_it_had(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        await store.save(Save(shard, checkpoint(0, body=b"before"), []))
        store._writer.execute("PRAGMA max_page_count = 20")  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match="full"):
            for number in range(1, 50):
                await store.save(Save(shard, checkpoint(number, body=b"x" * 4000), []))
        store._writer.execute("PRAGMA max_page_count = 100000")  # type: ignore[attr-defined]
        rows = await store.load(RUN)
        assert rows[0].body == b"before"
        await store.save(Save(shard, checkpoint(99), []))


async def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(SettingError, match="neither a path"):
        async with open_store("mysql://x"):
            pass


async def test_a_torn_log_loses_whole_transactions_only(tmp_path: Path) -> None:
    """Cut the write-ahead log at many lengths: a checkpoint and its event are both present or both absent."""
    path = tmp_path / "s.db"
    async with opened("sqlite", path) as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number in range(5):
            await store.save(Save(shard, checkpoint(number, body=b"y" * 500), [event(number, 1)]))
        database, log = path.read_bytes(), path.with_name("s.db-wal").read_bytes()
    lengths = set()
    for cut in range(0, len(log), max(1, len(log) // 23)):
        copy = tmp_path / f"cut{cut}.db"
        copy.write_bytes(database)
        copy.with_name(copy.name + "-wal").write_bytes(log[:cut])
        try:
            async with open_store(str(copy), create=False) as store:
                numbers = {row.number for row in await store.load(RUN)}
                assert all([len(await store.events(RUN, number)) == 1 for number in numbers])
                assert numbers == set(range(len(numbers)))
                lengths.add(len(numbers))
        except StoreError:
            continue
    assert len(lengths) > 1


def test_a_vault_never_uses_a_nonce_twice_not_even_after_a_fork() -> None:
    vault = Vault(bytes(32), "the test")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, vault.seal(b"x", b"place")[:12])
        os._exit(0)
    os.waitpid(child, 0)
    nonces = {os.read(read, 12), vault.seal(b"x", b"place")[:12], vault.seal(b"x", b"place")[:12]}
    os.close(read)
    os.close(write)
    assert len(nonces) == 3


def test_owners_are_told_apart_and_found_dead() -> None:
    me = this_process()
    assert not is_gone(attrs.evolve(me, namespace="of another container", started="1"))
    assert Owner.loads(me.dumps()) == me
    assert not is_gone(me)
    assert is_gone(attrs.evolve(me, started="1"))
    # A container moved to another machine keeps its host's name; its lease has to expire.
    assert not is_gone(attrs.evolve(me, boot_id="another boot"))
    assert not is_gone(attrs.evolve(me, host="elsewhere", pid=1))
    child = os.fork()
    if child == 0:
        os._exit(0)
    dead = attrs.evolve(me, pid=child)
    os.waitpid(child, 0)
    assert is_gone(dead)


def test_a_process_that_the_kernel_hides_is_not_taken_for_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """``/proc`` mounted with ``hidepid`` hides another user's processes."""

    def kill(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    me = this_process()
    assert not is_gone(attrs.evolve(me, pid=2**22 + 1))


def group_commit(write: Any) -> GroupCommit[Any]:
    """Begins at once, and commits by ``write``."""
    return GroupCommit(lambda items: partial(write, items), write, Writer())


async def test_saves_that_wait_share_the_next_commit() -> None:
    batches: list[list[int]] = []

    def write(items: Any) -> list[None]:
        batches.append(list(items))
        return [None] * len(items)

    commits: GroupCommit[int] = group_commit(write)
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(lambda number=number: commits.commit(number))
    assert sorted(number for batch in batches for number in batch) == list(range(20))
    assert len(batches) == 2


async def test_a_caller_that_is_alone_commits_on_the_loop_and_one_of_many_does_not() -> None:
    import threading

    threads: list[int] = []

    def write(items: Any) -> list[None]:
        threads.append(threading.get_ident())
        return [None] * len(items)

    here = threading.get_ident()
    commits: GroupCommit[int] = group_commit(write)
    for number in range(6):
        await commits.commit(number)
    assert [thread == here for thread in threads] == [False, False, False, True, True, True]
    threads.clear()
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(commits.commit, number)
    assert len(threads) <= 3, "many at once share a commit"
    assert threads[-1] != here


async def test_a_cancelled_save_is_finished_first() -> None:
    import threading

    gate, batches = threading.Event(), []

    def write(items: Any) -> list[None]:
        gate.wait(5)
        batches.append(list(items))
        return [None] * len(items)

    commits: GroupCommit[str] = group_commit(write)
    scopes = {name: anyio.CancelScope() for name in "abc"}

    async def commit(name: str) -> None:
        with scopes[name] as scope:
            try:
                await commits.commit(name)
            except anyio.get_cancelled_exc_class():
                assert any(name in batch for batch in batches)
                raise
        if scope.cancelled_caught:
            cancelled.append(name)

    cancelled: list[str] = []
    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(commit, name)
            await anyio.sleep(0.01)
        scopes["b"].cancel()
        await anyio.sleep(0.01)
        gate.set()
    assert batches == [["a"], ["b", "c"]]
    assert cancelled == ["b"]


async def test_a_leader_that_is_cancelled_natively_does_not_wedge_the_rest() -> None:
    import asyncio
    import threading

    gate = threading.Event()

    def write(items: Any) -> list[None]:
        gate.wait(5)
        return [None] * len(items)

    commits: GroupCommit[int] = group_commit(write)
    leader = asyncio.ensure_future(commits.commit(1))
    await asyncio.sleep(0.01)
    follower = asyncio.ensure_future(commits.commit(2))
    await asyncio.sleep(0.01)
    leader.cancel()
    await asyncio.sleep(0.01)
    gate.set()
    with anyio.fail_after(5):
        await follower
        with pytest.raises(asyncio.CancelledError):
            await leader
        await commits.commit(3)


async def test_a_failing_write_fails_its_batch_and_no_other() -> None:
    broken = [True]

    def write(items: Any) -> list[None]:
        if broken.pop() if broken else False:
            raise StoreError("no")
        return [None] * len(items)

    commits: GroupCommit[int] = group_commit(write)
    with pytest.raises(StoreError):
        await commits.commit(1)
    await commits.commit(2)


async def test_a_save_waits_for_another_process_without_holding_up_the_loop(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ticks = 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: store.save(Save(shard, checkpoint(0), [])))
            for _ in range(10):
                await anyio.sleep(0.01)
                ticks += 1
            assert await store.load(RUN) == []
            other.execute("COMMIT")
        other.close()
        assert ticks == 10
        assert [row.number for row in await store.load(RUN)] == [0]


@BACK_ENDS
async def test_the_history_of_an_instance_keeps_its_beginning_and_its_end(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for seq in range(1, 1001):
            await store.save(Save(shard, checkpoint(0), [event(0, seq)]))
        kept = [e.seq for e in await store.events(RUN, 0)]
        assert kept == [*range(1, HISTORY_HEAD + 1), *range(1001 - HISTORY_TAIL, 1001)]


@BACK_ENDS
async def test_statistics_are_kept_in_order_replaced_and_dropped(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        old = await store.claim(RUN, 0, OTHER, 30)
        await store.save_statistics([old], {2: b"two", 1: b"one"}, [], 1.0)
        await store.save_statistics([old], {1: b"one and two", 3: b"three"}, [2], 1.0)
        assert [row.body for row in await store.statistics(RUN)] == [b"one and two", b"three"]
        await taken_over(store)
        with pytest.raises(StaleEpochError):
            await store.save_statistics([old], {1: b"stale"}, [], 1.0)
        assert [row.body for row in await store.statistics(RUN)] == [b"one and two", b"three"]
        assert await store.statistics("261123-zzzzzz") == []


@BACK_ENDS
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
    kind: str, index: int, of: int, total: int, missing: list[int], tmp_path: Path
) -> None:
    async with opened(kind, tmp_path / "s.db", shards=of) as store:
        mine = Shard(run_id=RUN, index=index, of=of)
        assert [n for gap in await store.unadmitted(mine, total) for n in gap] == list(range(index, total, of))
        for number in (4, 0, 2):
            shard = await store.claim(RUN, number % of, this_process(), 30)
            await store.save(Save(shard, checkpoint(number), []))
            await store.release([shard])
        assert [n for gap in await store.unadmitted(mine, total) for n in gap] == missing


@BACK_ENDS
async def test_each_shard_has_its_own_claim_instances_and_statistics(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db", shards=2) as store:
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


@BACK_ENDS
async def test_the_process_that_finishes_the_last_shard_finishes_the_run(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db", shards=2) as store:
        one, two = await store.claim(RUN, 0, this_process(), 30), await store.claim(RUN, 1, this_process(), 30)
        assert await store.release([one], {0}, RunStatus.RUNNING) is RunStatus.RUNNING
        assert await store.release([two], {1}, RunStatus.RUNNING) is RunStatus.FINISHED
        assert (await store.run(RUN)).status is RunStatus.FINISHED
        assert [shard.done for shard in await store.shards(RUN)] == [True, True]


@BACK_ENDS
async def test_a_shard_that_was_taken_over_says_nothing_of_the_run(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        old = await store.claim(RUN, 0, OTHER, 30)
        await taken_over(store, this_process())
        assert await store.release([old], {0}, RunStatus.RUNNING) is RunStatus.RUNNING
        assert [shard.done for shard in await store.shards(RUN)] == [False]


@BACK_ENDS
async def test_a_run_is_made_with_the_shards_that_its_maker_drives(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        new = record("261124-000000")
        claimed = await store.create_run(new, {}, shards=3, claim={0, 2}, owner=this_process(), lease_s=30)
        assert [(shard.index, shard.of, shard.epoch) for shard in claimed] == [(0, 3, 1), (2, 3, 1)]
        assert [shard.owner for shard in await store.shards(new.id)] == [this_process().dumps(), None, this_process().dumps()]


@pytest.mark.parametrize(
    ("shards", "meanwhile", "status"),
    [
        ("done done", RunStatus.RUNNING, RunStatus.FINISHED),
        ("done driven", RunStatus.RUNNING, RunStatus.RUNNING),
        ("done free", RunStatus.RUNNING, RunStatus.INTERRUPTED),
        ("done lapsed", RunStatus.RUNNING, RunStatus.INTERRUPTED),
        ("done gone", RunStatus.RUNNING, RunStatus.INTERRUPTED),
        ("done free", RunStatus.CLEANING_UP, RunStatus.CLEANING_UP),
        ("done done", RunStatus.RETRYING, RunStatus.FINISHED),
    ],
)
def test_the_status_of_a_run_follows_from_its_shards(shards: str, meanwhile: RunStatus, status: RunStatus) -> None:
    me = this_process()
    kinds = {
        "done": {"done": True},
        "free": {},
        "driven": {"owner": me.dumps(), "lease_until": NOW + 1},
        "lapsed": {"owner": me.dumps(), "lease_until": NOW - 1},
        "gone": {"owner": attrs.evolve(me, started="1").dumps(), "lease_until": NOW + 1},
    }
    made = [Shard(run_id=RUN, index=index, of=2, **kinds[name]) for index, name in enumerate(shards.split())]
    assert run_status(made, meanwhile, NOW) is status


@BACK_ENDS
async def test_instances_of_some_statuses_are_read_in_order_and_in_pages(kind: str, tmp_path: Path) -> None:
    statuses = [Status.COMPLETED, Status.FAILED, Status.RUNNING]
    async with opened(kind, tmp_path / "s.db") as store:
        shard = await store.claim(RUN, 0, OTHER, 30)
        for number in range(12):
            await store.save(Save(shard, checkpoint(number, statuses[number % 3]), []))
        wanted = {Status.FAILED, Status.COMPLETED}
        assert [row.number for row in await store.load(RUN, wanted, limit=4)] == [0, 1, 3, 4]
        assert [row.number for row in await store.load(RUN, wanted, after=4, limit=100)] == [6, 7, 9, 10]
        assert [row.number for row in await store.load(RUN, after=9)] == [10, 11]
        assert await store.load(RUN, set()) == []


@BACK_ENDS
async def test_effects_are_counted_by_kind_and_checkpoints_without_kinds_are_found(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
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


@BACK_ENDS
async def test_the_oldest_in_each_state_is_of_those_that_have_not_ended(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
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


async def test_a_store_of_the_first_schema_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    db = sqlite3.connect(path)
    db.executescript(MIGRATIONS[0])
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO events (run_id, number, seq, kind, at, state) VALUES (?, 0, 1, 'started', 1, 'one')", (RUN,))
    db.commit()
    db.close()
    async with open_store(f"sqlite:{path}") as store:
        assert [(e.kind, e.failure) for e in await store.events(RUN, 0)] == [(EventKind.STARTED, None)]
        assert await store.statistics(RUN) == []


@BACK_ENDS
async def test_the_reports_of_a_run_are_replaced_and_nothing_else_of_it(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path / "s.db") as store:
        before = await store.run(RUN)
        await store.set_reports(RUN, {"junit": "/tmp/x.xml"})
        assert await store.run(RUN) == attrs.evolve(before, reports={"junit": "/tmp/x.xml"})
        with pytest.raises(UnknownRunError):
            await store.set_reports("261123-zzzzzz", {})
