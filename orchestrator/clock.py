"""Time as an object that is passed in, so that a test can own it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """Wall time, a steady time, sleeping and time limits. All numbers are seconds."""

    def now(self) -> float:
        """Unix time: what is stored and shown."""

    def steady(self) -> float:
        """Never jumps and goes on while the process, or the machine, is stopped: what leases are measured with."""

    async def sleep(self, seconds: float) -> None:
        """Wait at least this long by the steady time."""

    def deadline(self, seconds: float) -> float:
        """The deadline, for a cancel scope, that lies this far ahead."""


# CLOCK_BOOTTIME also counts the time that a laptop was asleep, during which a lease runs out too.
_STEADY = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return time.clock_gettime(_STEADY) if _STEADY is not None else time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await wait_until(self, self.steady() + seconds, anyio.Event())

    def deadline(self, seconds: float) -> float:
        # As `anyio.current_time()`, without looking the back end up; two are asked for in every step.
        return asyncio.get_running_loop().time() + seconds


async def wait_until(clock: Clock, moment: float, told: anyio.Event) -> None:
    """Wait until ``told`` is set or the steady time has reached ``moment``: never less, though a timer may go off early."""
    while not told.is_set() and (left := moment - clock.steady()) > 0:
        with anyio.CancelScope(deadline=clock.deadline(left)):
            await told.wait()
