"""Group commit: whoever saves while a commit is under way shares the next one. No timer, no task of its own.

The first to come when nobody is writing becomes the leader: it writes what is waiting, in a thread, and hands
the lead to the first of those who came meanwhile. A caller that is alone writes at once, without the thread
(a hop costs as much as a third of a step; see ``alone`` in the contract of the store).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

T = TypeVar("T")


class _Ticket(Generic[T]):
    __slots__ = ("done", "error", "item", "leads", "turn")

    def __init__(self, item: T) -> None:
        self.item = item
        # A future and not an `anyio.Event`, which costs five times as much, once for every step of every instance.
        self.turn: asyncio.Future[None] | None = None
        self.leads = False
        self.done = False
        self.error: Exception | None = None

    def wake(self) -> None:
        """Its turn has come: it is stored, or it leads."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class GroupCommit(Generic[T]):
    """Batches calls of ``write``, which stores a sequence of items in one transaction and answers with an error,
    or ``None``, for each; an exception of its own fails the whole batch."""

    def __init__(self, write: Callable[[Sequence[T]], Sequence[Exception | None]], limiter: anyio.CapacityLimiter) -> None:
        self._write = write
        self._limiter = limiter
        self._waiting: list[_Ticket[T]] = []
        self._busy = False

    async def commit(self, item: T, *, alone: bool) -> None:
        """Store ``item``; durable on return. A cancellation is raised only after the item was stored."""
        ticket = _Ticket(item)
        self._waiting.append(ticket)
        if alone and not self._busy:
            batch = self._take()
            _settle(batch, self._try(batch))
            # Whoever saves in a loop that never waits for anything else must still let others run.
            await anyio.lowlevel.cancel_shielded_checkpoint()
        else:
            try:
                while not ticket.done:
                    await self._take_turn(ticket)
            except anyio.get_cancelled_exc_class():
                # Shielding every save would cost more than all else here: only one that is cancelled pays for it.
                with anyio.CancelScope(shield=True):
                    while not ticket.done:
                        await self._take_turn(ticket)
                if ticket.error is None:
                    raise
        if ticket.error is not None:
            raise ticket.error

    async def _take_turn(self, ticket: _Ticket[T]) -> None:
        """Wait for the commit that holds the ticket; lead it, if that falls to us."""
        if self._busy and not ticket.leads:
            ticket.turn = asyncio.get_running_loop().create_future()
            await ticket.turn
        if not ticket.done and (ticket.leads or not self._busy):
            ticket.leads = False
            await self._lead()

    async def _lead(self) -> None:
        self._busy = True
        loop, batch = asyncio.get_running_loop(), self._take()

        def write() -> None:
            # The thread itself tells the loop: whatever becomes of the task that leads, the batch is settled.
            loop.call_soon_threadsafe(self._finish, batch, self._try(batch))

        await anyio.to_thread.run_sync(write, limiter=self._limiter)

    def _finish(self, batch: Sequence[_Ticket[T]], errors: Sequence[Exception | None]) -> None:
        self._hand_over()
        _settle(batch, errors)

    def _take(self) -> list[_Ticket[T]]:
        batch, self._waiting = self._waiting, []
        return batch

    def _try(self, batch: Sequence[_Ticket[T]]) -> Sequence[Exception | None]:
        try:
            return self._write([ticket.item for ticket in batch])
        except Exception as error:  # noqa: BLE001  # every caller of the batch is told
            return [error] * len(batch)

    def _hand_over(self) -> None:
        """The first of those who came meanwhile leads; one that is being cancelled just now leads in its clean-up."""
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].wake()
        else:
            self._busy = False


def _settle(batch: Sequence[_Ticket[T]], errors: Sequence[Exception | None]) -> None:
    for ticket, error in zip(batch, errors, strict=True):
        ticket.done, ticket.error = True, error
        ticket.wake()
