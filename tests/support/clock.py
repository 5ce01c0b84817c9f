"""A clock for tests that wait: its seconds pass thirty times as fast."""

from __future__ import annotations

import time

import anyio

SPEED = 30


class FastClock:
    """Wall time is real, because others compare it with theirs; the steady time and waiting are fast."""

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / SPEED)

    def deadline(self, seconds: float) -> float:
        return anyio.current_time() + seconds / SPEED
