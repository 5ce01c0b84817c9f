"""Group commit."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator import StoreError
from orchestrator.storage.commits import GroupCommit, Pace
from orchestrator.storage.sqlite.writing import BatchWriter, Writer


def group_commit(write: Any, *, is_shared: bool = False, pace: Pace | None = None) -> GroupCommit[Any]:
    """Commits by ``write``."""
    return GroupCommit(BatchWriter(lambda items, wait: write(items), Writer(), lambda: is_shared), pace)


class _Halves(Pace):
    """Decides for halves whatever is measured."""

    def note(self, *_: Any) -> None:
        self.halves = True


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
            await anyio.wait_all_tasks_blocked()
        scopes["b"].cancel()
        await anyio.wait_all_tasks_blocked()
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
    await anyio.wait_all_tasks_blocked()
    follower = asyncio.ensure_future(commits.commit(2))
    await anyio.wait_all_tasks_blocked()
    leader.cancel()
    await anyio.wait_all_tasks_blocked()
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


@pytest.mark.parametrize(("is_shared", "sizes"), [(False, range(45, 56)), (True, range(99, 101))])
async def test_half_of_the_callers_continue_while_the_other_half_is_written(is_shared: bool, sizes: range) -> None:
    """Unless another process waits for the same lock."""
    batches: list[int] = []

    def write(items: Any) -> list[None]:
        batches.append(len(items))
        return [None] * len(items)

    commits: GroupCommit[int] = group_commit(write, is_shared=is_shared, pace=_Halves())

    async def save_often(number: int) -> None:
        for _ in range(20):
            await commits.commit(number)

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(save_often, number)
    assert sum(batches) == 2000
    assert sorted(batches)[len(batches) // 2] in sizes


@pytest.mark.parametrize(("commit_s", "halves"), [(0.002, True), (0.02, False)])
def test_halves_pay_where_a_commit_is_shorter_than_the_work_of_the_callers(commit_s: float, halves: bool) -> None:
    pace = Pace()
    for batch in range(60):
        pace.note(50, 100, commit_s, loop_s=batch * 50 * 0.0001)  # 100 callers need 10 ms
    assert pace.halves is halves
    for batch in range(60):
        pace.note(50, 100, 0.022 - commit_s, loop_s=(60 + batch) * 50 * 0.0001)
    assert pace.halves is not halves


async def test_draining_waits_for_items_whose_batch_has_not_begun() -> None:
    stored: list[int] = []

    def write(items: Any) -> list[None]:
        stored.extend(items)
        return [None] * len(items)

    commits: GroupCommit[int] = group_commit(write)
    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(commits.commit, number)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(commits.commit, 50)
        await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            await commits.drain()
        assert stored[-1] == 50
