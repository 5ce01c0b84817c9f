"""The CPU time of a coroutine, beside tasks that are busy while it waits."""

from __future__ import annotations

import time

import anyio
import pytest

from orchestrator.web.timed import Timed


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_work_of_other_tasks_is_not_counted() -> None:
    async def wait() -> str:
        await anyio.sleep(0.01)
        return "done"

    async def busy() -> None:
        for _ in range(10):
            burn(0.02)
            await anyio.sleep(0)

    work = Timed(wait())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(busy)
        assert await work == "done"
    assert work.spent_s < 0.1


async def test_own_work_is_counted_over_all_steps() -> None:
    async def steps() -> None:
        for _ in range(3):
            burn(0.01)
            await anyio.sleep(0)

    work = Timed(steps())
    await work
    assert work.spent_s >= 0.03


async def test_errors_and_cancellations_pass_through() -> None:
    async def fail() -> None:
        await anyio.sleep(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Timed(fail())
    with anyio.move_on_after(0.01) as scope:
        await Timed(anyio.sleep(60))
    assert scope.cancelled_caught
