"""Processes that drive parts of one run share its rate limits and its pauses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest

from orchestrator import Shard, ThrottledError, Vault, resume, start
from orchestrator.driving.limits import RateLimits
from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage.memory import MemoryStore
from tests.support.clock import FastClock, ManualClock
from tests.support.toy import Ledger, Making, fast, toy
from tests.support.waiting import until


class LookedAt(MemoryStore):
    """Counts how often a process looks for the shards of its neighbours."""

    looks = 0

    async def shards(self, run_id: str) -> list[Shard]:
        self.looks += 1
        return await super().shards(run_id)


class Limited(Making):
    """One object, within a rate."""

    name = "limited"
    transitions = {"done": "completed"}
    rate_group = "g"


async def starts(limits: RateLimits, clock: ManualClock, count: int) -> list[float]:
    """The moments at which so many attempts start, one after the other."""
    found = []
    for _ in range(count):
        await limits.admit("g")
        found.append(clock.time)
    return found


async def test_half_a_share_starts_half_as_often_and_a_whole_one_at_the_full_rate() -> None:
    clock = ManualClock()
    limits = RateLimits({"g": 10.0}, clock)
    limits.set_share(0.5)
    slow = await starts(limits, clock, 5)
    limits.set_share(1.0)
    quick = await starts(limits, clock, 5)
    assert [b - a for a, b in pairwise(slow)] == pytest.approx([0.2] * 4)
    assert [b - a for a, b in pairwise(quick)] == pytest.approx([0.1] * 4)


async def test_a_change_of_the_share_reaches_those_who_wait_already() -> None:
    clock = FastClock()
    limits = RateLimits({"g": 1.0}, clock)
    limits.set_share(0.001)
    with anyio.fail_after(20):  # the last one would wait for 100 s, and the fast clock is 30 times as fast
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(limits.admit, "g")
            await anyio.wait_all_tasks_blocked()
            limits.set_share(1.0)


async def test_a_share_that_changes_in_a_pause_causes_no_burst_at_its_end() -> None:
    clock = ManualClock()
    limits = RateLimits({"g": 1.0}, clock)
    limits.set_share(0.5)
    await limits.admit("g")
    limits.slow_down("g", 20.0)
    clock.advance(5.0)
    limits.set_share(1.0)
    found = await starts(limits, clock, 4)
    assert found[0] >= 120.0
    assert all(later - earlier >= 0.99 for earlier, later in pairwise(found))


async def shards_of(workflow: Any, vault: Vault, shards: int, together: Callable[[str, LookedAt], Any], **run: Any) -> None:
    """Store a run of several shards, and drive it by ``together``."""
    store = LookedAt()
    async with start(workflow, store=store, shards=shards, drive=False, options=fast(vault), **run) as stored:
        await stored.wait()
    await together(stored.id, store)
    assert (await store.run(stored.id)).status is RunStatus.FINISHED


async def test_the_rate_of_a_finished_shard_is_given_to_the_others(vault: Vault) -> None:
    ledger, first_is_done = Ledger(), anyio.Event()
    workflow = toy(ledger, Limited())
    rates: list[float | None] = []

    async def hold(step: Any) -> None:
        if step.number == 1:
            await first_is_done.wait()

    async def together(run_id: str, store: LookedAt) -> None:
        async def drive_first() -> None:
            async with resume(workflow, run_id, store=store, shards=[0], options=fast(vault)) as run:
                rates.append(run.rate_groups["g"].per_second)
                await run.wait()

        async with (
            anyio.create_task_group() as tasks,
            resume(workflow, run_id, store=store, shards=[1], options=fast(vault)) as run,
        ):
            rates.append(run.rate_groups["g"].per_second)
            tasks.start_soon(drive_first)
            await until(lambda: run.rate_groups["g"].per_second == 2.0)
            rates.append(2.0)
            assert [shard.done for shard in await store.shards(run_id)] == [True, False]
            first_is_done.set()
            await run.wait()

    ledger.script["run limited"] = [hold] * 4
    with anyio.fail_after(20):
        await shards_of(workflow, vault, 2, together, instances=4, concurrency=2, rates={"g": 2.0})
    assert rates == [1.0, 1.0, 2.0]


async def test_a_pause_that_the_server_asks_of_one_process_holds_for_the_others(vault: Vault) -> None:
    ledger = Ledger()
    workflow = toy(ledger, Limited())

    def refuse(step: Any) -> None:
        if step.number == 0:
            raise ThrottledError("too many", retry_after=30.0)

    async def together(run_id: str, store: LookedAt) -> None:
        async with (
            resume(workflow, run_id, store=store, shards=[0], options=fast(vault)) as first,
            resume(workflow, run_id, store=store, shards=[1], options=fast(vault)) as second,
        ):
            await until(lambda: second.rate_groups["g"].left_s)
            looks = store.looks
            await until(lambda: store.looks > looks + 6)
            assert first.rate_groups["g"].pauses == 1
            assert second.rate_groups["g"].pauses == 0, "it is counted where the server has asked for it"
            assert second.rate_groups["g"].left_s > 0

    ledger.script["run limited"] = [refuse, refuse]
    with anyio.fail_after(20):
        await shards_of(workflow, vault, 2, together, instances=40, concurrency=2, rates={"g": 2.0})
