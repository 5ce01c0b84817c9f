"""Clocks: time as an object that is passed in, so that tests can control it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import anyio


class Timer(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """Never call it."""


class Clock(Protocol):
    """Wall time, steady time, sleeping and time limits. All numbers are seconds."""

    def now(self) -> float:
        """Unix time, for times that are stored and shown."""

    def steady(self) -> float:
        """A time that never jumps and includes the time for which the process or the machine was stopped; leases are
        measured with it."""

    async def sleep(self, seconds: float) -> None:
        """Wait at least this long by the steady time."""

    def deadline(self, seconds: float) -> float:
        """The moment this far ahead, as the deadline of a cancel scope."""

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` on the event loop at a moment that :meth:`deadline` returned."""


# CLOCK_BOOTTIME includes the time for which a laptop was asleep; a lease expires during sleep too.
_STEADY: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


class SystemClock:
    """The clocks of this machine."""

    # Each step asks ten times: without a function of ours in between, an answer takes half the time.
    now = staticmethod(time.time)
    steady = staticmethod(_STEADY)

    async def sleep(self, seconds: float) -> None:
        await wait_until(self, self.steady() + seconds, anyio.Event())

    def deadline(self, seconds: float) -> float:
        # The clock of asyncio's loop and of uvloop. To ask the loop itself takes a system call, and each step needs a deadline.
        return time.monotonic() + seconds

    def call_at(self, deadline: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_at(deadline, callback)


async def wait_until(clock: Clock, moment: float, event: anyio.Event) -> None:
    """Wait until ``event`` is set or the steady time has reached ``moment``; never shorter, even if a timer fires early."""
    while not event.is_set() and (left := moment - clock.steady()) > 0:
        with anyio.CancelScope(deadline=clock.deadline(left)):
            await event.wait()
