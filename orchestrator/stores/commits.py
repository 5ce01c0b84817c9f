"""Group commit: whoever saves while a commit is under way shares the next one. No timer, no task of its own.

The first to come when nobody is writing becomes the leader: it writes what is waiting, in a thread, and hands
the lead to the first of those who came meanwhile. A caller that is alone writes at once, without the thread
(a hop costs as much as a third of a step; see ``alone`` in the contract of the store).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


class _Ticket(Generic[T]):
    __slots__ = ("done", "error", "item", "turn")

    def __init__(self, item: T) -> None:
        self.item = item
        self.turn: anyio.Event | None = None
        self.done = False
        self.error: Exception | None = None


class GroupCommit(Generic[T]):
    """Batches calls of ``write``, which stores a sequence of items in one transaction and answers with an error,
    or ``None``, for each; an exception of its own fails the whole batch."""

    def __init__(self, write: Callable[[Sequence[T]], Sequence[Exception | None]], limiter: anyio.CapacityLimiter) -> None:
        self._write = write
        self._limiter = limiter
        self._waiting: list[_Ticket[T]] = []
        self._busy = False

    async def commit(self, item: T, *, alone: bool) -> None:
        """Store ``item``; durable on return. Cancelled, it may or may not have been stored; nobody else is harmed."""
        ticket = _Ticket(item)
        self._waiting.append(ticket)
        if self._busy:
            await self._wait(ticket)
        elif alone:
            batch = self._take()
            _settle(batch, self._try(batch))
        if not ticket.done:
            await self._lead()
        if ticket.error is not None:
            raise ticket.error

    async def _wait(self, ticket: _Ticket[T]) -> None:
        ticket.turn = anyio.Event()
        try:
            await ticket.turn.wait()
        except BaseException:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            # The lead may have been handed to us in the very moment in which we were cancelled.
            if ticket.turn.is_set() and not ticket.done:
                self._hand_over()
            raise

    async def _lead(self) -> None:
        self._busy = True
        batch = self._take()
        try:
            with anyio.CancelScope(shield=True):
                errors = await anyio.to_thread.run_sync(self._try, batch, limiter=self._limiter)
        finally:
            self._hand_over()
        _settle(batch, errors)

    def _take(self) -> list[_Ticket[T]]:
        batch, self._waiting = self._waiting, []
        return batch

    def _try(self, batch: Sequence[_Ticket[T]]) -> Sequence[Exception | None]:
        try:
            return self._write([ticket.item for ticket in batch])
        except Exception as error:
            return [error] * len(batch)

    def _hand_over(self) -> None:
        for ticket in self._waiting:
            if ticket.turn is not None:
                ticket.turn.set()  # still not done: it leads
                return
        self._busy = False


def _settle(batch: Sequence[_Ticket[T]], errors: Sequence[Exception | None]) -> None:
    for ticket, error in zip(batch, errors, strict=True):
        ticket.done, ticket.error = True, error
        if ticket.turn is not None:
            ticket.turn.set()
