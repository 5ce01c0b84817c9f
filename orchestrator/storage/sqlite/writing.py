"""How batches are written: the event loop inserts, a thread commits.

The event loop executes the inserts: that takes some 20 µs a row, while a thread would exchange the interpreter's lock for every
row. The writer's thread does everything that may block (on the disk, on another process). A lone caller commits on the event
loop, too: a switch to the thread costs up to a third of a step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from orchestrator.storage.commits import Errors

R = TypeVar("R")
T = TypeVar("T")


class Writer:
    """A thread for blocking work, done in the order of the requests."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="orchestrator store")
        self._jobs = 0

    @property
    def idle(self) -> bool:
        """Whether the thread is idle, so that the event loop may write itself."""
        return self._jobs == 0

    def submit(self, work: Callable[[], object], then: Callable[[], None]) -> None:
        """Run ``work`` in the thread, then call ``then`` on the event loop. ``work`` may not raise."""
        loop = asyncio.get_running_loop()
        self._jobs += 1

        def done() -> None:
            self._jobs -= 1
            then()

        def job() -> None:
            work()
            loop.call_soon_threadsafe(done)

        self._thread.submit(job)

    async def run(self, work: Callable[[], R]) -> R:
        """Run ``work`` in the thread and wait for it. It is completed even if the wait is cancelled."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        outcome: list[Callable[[], None]] = []

        def tried() -> None:
            try:
                outcome.append(partial(answer.set_result, work()))
            except BaseException as error:  # noqa: BLE001  # raised to the waiting caller
                outcome.append(partial(answer.set_exception, error))

        def settle() -> None:
            if not answer.done():
                outcome[0]()

        self.submit(tried, settle)
        return await answer

    def close(self) -> None:
        """Wait for the requested work, and end the thread."""
        self._thread.shutdown()


class BatchWriter(Generic[T]):
    """Writes the batches of a :class:`~orchestrator.storage.commits.GroupCommit`.

    Args:
        begin: Inserts items in a new transaction without blocking, and returns the function that commits it; ``None``: not
            possible at this moment. Called on the event loop while the writer is idle.
        write: Inserts and commits, and may block. Called in the writer's thread.
    """

    def __init__(
        self,
        begin: Callable[[Sequence[T]], Callable[[], Errors] | None],
        write: Callable[[Sequence[T]], Errors],
        writer: Writer,
    ) -> None:
        self._begin = begin
        self._write = write
        self._writer = writer

    def __call__(self, items: Sequence[T], *, alone: bool, finish: Callable[[Errors], None]) -> Errors | None:
        """See :class:`~orchestrator.storage.commits.WriteBatch`."""
        commit = self._begin(items) if self._writer.idle else None
        if commit is not None and alone:
            return commit()
        errors: list[Exception | None] = []
        work = commit or partial(self._write, items)
        self._writer.submit(lambda: errors.extend(_tried(work, len(items))), lambda: finish(errors))
        return None


def _tried(commit: Callable[[], Errors], size: int) -> Errors:
    try:
        return commit()
    except Exception as error:  # noqa: BLE001  # raised to every caller of the batch
        return [error] * size
