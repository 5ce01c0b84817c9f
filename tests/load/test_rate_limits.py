"""Rate groups: turns, pauses and the clocks that they wait by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio
import attrs
import pytest

from orchestrator import (
    Scenario,
    Status,
    ThrottledError,
    Vault,
)
from orchestrator.clock import SystemClock, wait_until
from orchestrator.driving.limits import RateLimits
from orchestrator.storage.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.support.rounds import drive, rounds, statistics
from tests.support.toy import Ledger


async def test_a_429_slows_the_whole_group_and_no_other(store: MemoryStore, vault: Vault) -> None:
    ledger, began = Ledger(), {}
    clock = SystemClock()

    def note(name: str) -> Any:
        def noted(step: Any) -> None:
            began.setdefault(name, []).append(clock.steady())

        return noted

    ledger.script = {
        "run provide": [ThrottledError("slow down", retry_after=6.0), *[note("provide")] * 10],
        "run use": [note("use")] * 10,
    }
    at = clock.steady()
    result = await drive(rounds(ledger), store, vault, Scenario(instances=5, concurrency=5))
    assert result.counts == {Status.COMPLETED: 5}
    # Six seconds of the fast clock are 0.2 s.
    assert sum(moment - at > 0.15 for moment in began["provide"]) >= 4
    measured = await statistics(store, result.run_id)
    assert measured.latency("wait.configuration").count >= 4
    assert measured.latency("wait.sign_on") is None


async def test_a_pause_moves_the_waiting_turns_in_their_order() -> None:
    clock = ManualClock()
    limits = RateLimits({"g": 2.0}, clock)
    assert await limits.admit("g") == 0
    assert await limits.admit("g") == 0.5
    limits.slow_down("g", 10)
    limits.slow_down("g", 4)  # a shorter one changes nothing
    assert await limits.admit("g") == pytest.approx(10.5, abs=0.51)
    assert await limits.admit("g") == pytest.approx(0.5)
    assert await limits.admit("other") == 0


async def test_a_slot_that_is_given_back_goes_to_the_next_caller_only() -> None:
    """At the cut of a scenario many instances stop at once and roll back: the rate holds all the same."""
    clock, leave = SystemClock(), anyio.Event()
    limits = RateLimits({"g": 100.0}, clock)
    began: list[float] = []

    async def stay() -> None:
        await limits.admit("g")
        began.append(clock.steady())

    async def come_back() -> None:
        await limits.admit("g", leave=leave)
        await stay()

    first = clock.steady()
    await limits.admit("g")
    async with anyio.create_task_group() as tasks:
        for index in range(16):
            tasks.start_soon(come_back if index % 2 else stay)
        await anyio.sleep(0)
        leave.set()
    # One every 10 ms after the first: twice the rate would have finished in half the time. A late start delays the others, too.
    assert len(began) == 16
    assert max(began) - first >= 16 * 0.01 - 0.001


async def test_a_turn_that_was_given_back_does_not_start_inside_a_later_pause() -> None:
    clock, leave = ManualClock(), anyio.Event()
    limits = RateLimits({"g": 1.0}, clock)
    leave.set()
    for _ in range(3):
        await limits.admit("g", leave=leave)  # the slots at 1 and 2 s are given back
    clock.time += 1.5
    limits.slow_down("g", 10)
    assert await limits.admit("g") >= 10


@attrs.define
class EarlyClock:
    """Timers that fire a millisecond early, as those of uvloop do; it counts the waits."""

    time: float = 100.0
    waits: list[float] = attrs.field(factory=list)

    def now(self) -> float:
        return self.time

    def steady(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.deadline(seconds)

    def deadline(self, seconds: float) -> float:
        self.waits.append(seconds)
        self.time += seconds - 0.001 if seconds > 0.002 else seconds
        return -math.inf

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Any:
        raise NotImplementedError


async def test_a_wait_within_a_limit_is_no_longer_than_that_though_timers_go_off_early() -> None:
    clock = EarlyClock()
    limits = RateLimits({"g": 0.01}, clock)
    await limits.admit("g")
    assert await limits.admit("g", leave=anyio.Event(), until=clock.time + 5) == pytest.approx(5)
    assert sum(clock.waits) == pytest.approx(5.001)
    assert await limits.admit("g", leave=anyio.Event()) == pytest.approx(95)


async def test_a_wait_is_never_short_though_timers_go_off_early() -> None:
    clock = EarlyClock()
    until = clock.time + 2
    await wait_until(clock, until, anyio.Event())
    assert clock.time >= until


async def test_a_group_without_a_rate_comes_back_one_by_one() -> None:
    clock = ManualClock()
    limits = RateLimits({}, clock)
    assert not limits.limits("g")
    limits.slow_down("g", 1000)
    waited = [await limits.admit("g") for _ in range(3)]
    assert waited[0] == pytest.approx(60)  # a request for more than a minute is cut to a minute
    assert 0 < waited[1] < 0.1
