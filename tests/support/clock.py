"""A clock for tests that wait: seconds of sleeping and of limits pass forty times as fast."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

import anyio

SPEED = 40


class FastClock:
    """Wall time is real, for others compare it with theirs; waiting is fast."""

    def now(self) -> float:
        return time.time()

    def steady(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / SPEED)

    def limit(self, seconds: float) -> AbstractContextManager[anyio.CancelScope]:
        return anyio.move_on_after(seconds / SPEED)
