"""Writes batches of checkpoints: a thread inserts and commits, because both may block on the disk and on other processes.

SQLite does most of it without the interpreter's lock, while the event loop goes on. A lone caller commits on the event loop: a
switch to the thread costs up to a third of a step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, Protocol, TypeVar

from orchestrator.storage.commits import Errors

R = TypeVar("R")
T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


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


class WriteItems(Protocol[T_contra]):
    """Writes and commits items, and blocks."""

    def __call__(self, items: Sequence[T_contra], wait: bool, /) -> Errors | None:
        """Return an entry per item; ``None``: another process is writing, and ``wait`` is false."""


class BatchWriter(Generic[T]):
    """Writes the batches of a :class:`~orchestrator.storage.commits.GroupCommit`."""

    def __init__(self, write: WriteItems[T], writer: Writer, is_shared: Callable[[], bool]) -> None:
        self._write = write
        self._writer = writer
        self._is_shared = is_shared

    @property
    def is_shared(self) -> bool:
        """See :class:`~orchestrator.storage.commits.WriteBatch`."""
        return self._is_shared()

    def __call__(self, items: Sequence[T], *, alone: bool, finish: Callable[[Errors], None]) -> Errors | None:
        """See :class:`~orchestrator.storage.commits.WriteBatch`."""
        if alone and self._writer.idle and (errors := self._write(items, False)) is not None:
            return errors
        found: list[Exception | None] = []
        self._writer.submit(lambda: found.extend(self._tried(items)), lambda: finish(found))
        return None

    def _tried(self, items: Sequence[T]) -> Errors:
        try:
            errors = self._write(items, True)
        except Exception as error:  # noqa: BLE001  # raised to every caller of the batch
            return [error] * len(items)
        assert errors is not None
        return errors
