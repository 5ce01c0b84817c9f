"""Group commit: callers that save during a commit share the next one. It uses no timer and no task.

Items that wait when a commit ends go into the next transaction. The event loop executes the inserts: that takes some 20 µs a
row, while a thread would exchange the interpreter's lock for every row. The writer's thread does everything that may block
(on the disk, on another process). A lone caller commits on the event loop, too: a switch to the thread costs up to a third of a
step. (A caller is alone if the latest commits did not overlap: see ``ALONE_AFTER``.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel

R = TypeVar("R")
T = TypeVar("T")

Errors = Sequence[Exception | None]
"""One entry per item: an error, or ``None``."""


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


ALONE_AFTER = 3
"""Successive commits without overlap after which a caller counts as alone."""


class _Ticket(Generic[T]):
    __slots__ = ("done", "error", "item", "turn")

    def __init__(self, item: T) -> None:
        self.item = item
        # A future, because an `anyio.Event` costs five times as much, once per step of each instance.
        self.turn: asyncio.Future[None] | None = None
        self.done = False
        self.error: Exception | None = None

    def settle(self, error: Exception | None) -> None:
        self.done, self.error = True, error
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class GroupCommit(Generic[T]):
    """Batches items into transactions.

    Args:
        begin: Inserts items in a new transaction without blocking, and returns the function that commits it; ``None``: not
            possible at this moment. Called on the event loop while the writer is idle.
        write: Inserts and commits, and may block. Called in the writer's thread.

    An exception of either fails the whole batch.
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
        self._waiting: list[_Ticket[T]] = []
        self._busy = False
        """Whether the writer's thread has a batch."""
        self._committing = 0
        """Callers that have called and not yet continued."""
        self._single = 0
        """Successive commits without another caller."""
        self._idle: asyncio.Future[None] | None = None
        """Whether a caller waits for all commits to end."""

    async def commit(self, item: T) -> None:
        """Store ``item``; durable on return. A cancellation is raised only after the item was stored."""
        self._single = 0 if self._committing else self._single + 1
        self._committing += 1
        try:
            await self._commit(_Ticket(item))
        finally:
            self._committing -= 1

    async def _commit(self, ticket: _Ticket[T]) -> None:
        self._waiting.append(ticket)
        if not self._busy:
            self._start()
        if ticket.done:
            # A loop that awaits nothing but saves must still let other tasks run.
            await anyio.lowlevel.cancel_shielded_checkpoint()
        else:
            ticket.turn = asyncio.get_running_loop().create_future()
            try:
                await ticket.turn
            except asyncio.CancelledError:
                await self._finished(ticket)
                if ticket.error is None:
                    raise
        if ticket.error is not None:
            raise ticket.error

    async def drain(self) -> None:
        """Wait until every item is stored."""
        while self._busy:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await self._idle

    async def _finished(self, ticket: _Ticket[T]) -> None:
        """Shielding every save would cost more than all else here, so only a cancelled one pays for it."""
        with anyio.CancelScope(shield=True):
            while not ticket.done:
                ticket.turn = asyncio.get_running_loop().create_future()
                await ticket.turn

    def _start(self) -> None:
        """Insert the waiting items in a transaction and commit it: in the thread, or here for a lone caller."""
        batch, self._waiting = self._waiting, []
        alone = len(batch) == 1 and self._single > ALONE_AFTER
        items = [ticket.item for ticket in batch]
        try:
            commit = self._begin(items) if self._writer.idle else None
        except Exception as error:  # noqa: BLE001  # raised to every caller of the batch
            _settle(batch, [error] * len(batch))
            return
        if commit is not None and alone:
            _settle(batch, _tried(commit, len(batch)))
            return
        self._busy = True
        errors: list[Exception | None] = []
        work = commit or partial(self._write, items)
        self._writer.submit(lambda: errors.extend(_tried(work, len(batch))), lambda: self._finish(batch, errors))

    def _finish(self, batch: Sequence[_Ticket[T]], errors: Errors) -> None:
        _settle(batch, errors)
        # Wake stored callers first: their next requests are under way while the next batch is written.
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._busy = False
        if self._waiting:
            self._start()
        if not self._busy and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None


def _tried(commit: Callable[[], Errors], size: int) -> Errors:
    try:
        return commit()
    except Exception as error:  # noqa: BLE001  # raised to every caller of the batch
        return [error] * size


def _settle(batch: Sequence[_Ticket[T]], errors: Errors) -> None:
    for ticket, error in zip(batch, errors, strict=True):
        ticket.settle(error)
