"""Waiting for a condition instead of for a fixed time: a busy machine takes longer, a fast one does not wait."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

LIMIT_S = 60.0
"""Only a broken program takes this long, also on a busy machine."""


async def until(
    condition: Callable[[], object | Awaitable[object]], *, says: str = "", limit_s: float = LIMIT_S, every_s: float = 0.005
) -> None:
    """Wait until a condition holds; it may be a coroutine function.

    Args:
        says: The condition in words, for the error.
        every_s: The pause between two looks; longer for a condition that costs something.

    Raises:
        TimeoutError: It does not hold in time.
    """
    with anyio.move_on_after(limit_s):
        while True:
            holds = condition()
            if await holds if isinstance(holds, Awaitable) else holds:
                return
            await anyio.sleep(every_s)
    raise TimeoutError(f"after {limit_s:g} s it does not hold: {says or condition}")


def block_until(condition: Callable[[], object], *, limit_s: float = LIMIT_S, every_s: float = 0.02) -> None:
    """Like :func:`until`, without an event loop."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(every_s)
