"""Clocks for tests that wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import anyio

SPEED = 30


class FastClock:
    """Wall time is real, since other programs compare it with theirs; steady time and waits are thirty times as fast."""

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / SPEED)

    def deadline(self, seconds: float) -> float:
        return anyio.current_time() + seconds / SPEED

    def call_at(self, deadline: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(deadline, callback)


class ManualTimer:
    """A callback of :class:`ManualClock`."""

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """Time that only a test moves, by :meth:`advance`, or that sleeping moves."""

    def __init__(self, time: float = 100.0) -> None:
        self.time = time
        self.timers: list[ManualTimer] = []
        """All timers that were ever set."""

    def now(self) -> float:
        return self.time

    def steady(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def deadline(self, seconds: float) -> float:
        return self.time + seconds

    def call_at(self, deadline: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(deadline, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Move the time, calling the callbacks that become due, in order."""
        end = self.time + seconds
        while due := [timer for timer in self.timers if not timer.cancelled and timer.at <= end]:
            timer = min(due, key=lambda each: each.at)
            timer.cancelled = True
            self.time = max(self.time, timer.at)
            timer.callback()
        self.time = end
