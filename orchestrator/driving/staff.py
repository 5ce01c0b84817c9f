"""The tasks that drive instances in a process: one for each place."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup


class Staff:
    """The workers of a process.

    Args:
        work: Called with the index of a worker.
        name: Begins the names of the workers.
    """

    def __init__(self, tasks: TaskGroup, work: Callable[[int], Awaitable[None]], name: str) -> None:
        self.gone = anyio.Event()
        """Set: all workers have ended."""
        self._tasks = tasks
        self._work = work
        self._name = name
        self._free: list[int] = []
        """Indices of workers that have ended, and may be used again."""
        self._made = 0

    def fill(self, places: int) -> None:
        """Have as many workers as places; those that are too many end by themselves."""
        for _ in range(places - self._made + len(self._free)):
            if self._free:
                index = heapq.heappop(self._free)
            else:
                index = self._made
                self._made += 1
            self._tasks.start_soon(self._run, index, name=f"{self._name} {index}")
        self._end_if_empty()

    async def _run(self, index: int) -> None:
        try:
            await self._work(index)
        finally:
            heapq.heappush(self._free, index)
            self._end_if_empty()

    def _end_if_empty(self) -> None:
        if len(self._free) == self._made:
            self.gone.set()
