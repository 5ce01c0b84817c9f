"""Group commit: whoever saves while a commit is under way shares the next one. No timer, no task of its own.

What is waiting when the last commit ends goes into the next transaction. Its rows are put in on the event loop: that takes
some 20 µs a row, while a thread that does it hands the interpreter's lock to and fro for every row. What may wait (for the
disk, for another process) is done by the writer's thread. A caller that is alone commits on the loop, too: a hop to the
thread costs as much as a third of a step. (A caller is alone if the latest ones did not overlap: see ``ALONE_AFTER``.)
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
"""For each item an error, or ``None``."""


class Writer:
    """One thread that does what may wait, in the order in which it was asked for."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="orchestrator store")
        self._jobs = 0

    @property
    def idle(self) -> bool:
        """Whether the thread has nothing to do, so that the event loop may write itself."""
        return self._jobs == 0

    def submit(self, work: Callable[[], object], then: Callable[[], None]) -> None:
        """Have ``work`` done, then call ``then`` on the event loop. ``work`` may not raise."""
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
        """Have ``work`` done and wait for it. It is done wholly even if the wait is cancelled."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        outcome: list[Callable[[], None]] = []

        def tried() -> None:
            try:
                outcome.append(partial(answer.set_result, work()))
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                outcome.append(partial(answer.set_exception, error))

        def settle() -> None:
            if not answer.done():
                outcome[0]()

        self.submit(tried, settle)
        return await answer

    def close(self) -> None:
        """Wait for what was asked for, and end the thread."""
        self._thread.shutdown()


ALONE_AFTER = 3
"""Commits in a row that overlapped with no other one, after which a caller counts as alone."""


class _Ticket(Generic[T]):
    __slots__ = ("done", "error", "item", "turn")

    def __init__(self, item: T) -> None:
        self.item = item
        # A future and not an `anyio.Event`, which costs five times as much, once for every step of every instance.
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
        begin: Puts items into a transaction without waiting for anything, and answers with what commits it; ``None``: not
            possible at this moment. Called on the event loop while the writer is idle.
        write: Does the same from beginning to end, and may wait. Called in the writer's thread.

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
        """Whether a batch is with the writer's thread."""
        self._committing = 0
        """How many callers have asked and not gone on yet."""
        self._single = 0
        """Commits in a row during which nobody else asked."""
        self._idle: asyncio.Future[None] | None = None
        """Somebody waits for the end of it all."""

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
            # Whoever saves in a loop that never waits for anything else must still let others run.
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
        """Wait until nothing is waiting."""
        while self._busy:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await self._idle

    async def _finished(self, ticket: _Ticket[T]) -> None:
        """Shielding every save would cost more than all else here: only one that is cancelled pays for it."""
        with anyio.CancelScope(shield=True):
            while not ticket.done:
                ticket.turn = asyncio.get_running_loop().create_future()
                await ticket.turn

    def _start(self) -> None:
        """Put the waiting items into a transaction and have it committed: by the thread, or here for a caller that is alone."""
        batch, self._waiting = self._waiting, []
        alone = len(batch) == 1 and self._single > ALONE_AFTER
        items = [ticket.item for ticket in batch]
        try:
            commit = self._begin(items) if self._writer.idle else None
        except Exception as error:  # noqa: BLE001  # every caller of the batch is told
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
        # Whoever has been stored goes first: its next request is on its way while the next batch is written.
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
    except Exception as error:  # noqa: BLE001  # every caller of the batch is told
        return [error] * size


def _settle(batch: Sequence[_Ticket[T]], errors: Errors) -> None:
    for ticket, error in zip(batch, errors, strict=True):
        ticket.settle(error)
