"""Group commit: callers that save during a commit share the next one. It uses no timer and no task.

The store says how a batch is written. A batch is about half of the callers that save at a time, so that one half continues while
the other half is written. It is all of them where a second commit would cost more than the wait: on a slow disk, or while another
process waits for the same lock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

import anyio
import anyio.lowlevel

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

Errors = Sequence[Exception | None]
"""One entry per item: an error, or ``None``."""


class WriteBatch(Protocol[T_contra]):
    """Writes and commits a batch. An exception fails the whole batch."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes wait while a batch is written."""

    def __call__(self, items: Sequence[T_contra], *, alone: bool, finish: Callable[[Errors], None]) -> Errors | None:
        """Return the errors of a batch that has been committed; ``None``: ``finish`` gets them later, on the event loop.

        Args:
            alone: The latest commits did not overlap, so that none is likely to wait for this one.
        """


ObserveCommit = Callable[[int, float], None]
"""Called with the number of items that a batch has stored, and the seconds that it took. It must be fast, and may not raise."""

ALONE_AFTER = 3
"""Successive commits without overlap after which a caller counts as alone."""

SMOOTHING = 0.1
"""Weight of the latest batch in the averages that decide the size of the next."""


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


class Pace:
    """Compares the duration of a commit with the time that the event loop needs for the callers until they save again."""

    __slots__ = ("_commit_s", "_item_s", "_loop_s", "halves")

    def __init__(self) -> None:
        self.halves = False
        """Whether it pays to write half of the callers' items while the other half continues."""
        self._commit_s = 0.0
        self._item_s = 0.0
        self._loop_s: float | None = None

    def note(self, written: int, callers: int, commit_s: float, loop_s: float) -> None:
        """Note a batch.

        Args:
            written: Its size.
            callers: Those of the batch, and those that wait for the next one.
            commit_s: Seconds from its start to its end.
            loop_s: CPU seconds that the event loop has used until now.
        """
        if self._loop_s is not None:
            self._item_s += SMOOTHING * ((loop_s - self._loop_s) / written - self._item_s)
            self._commit_s += SMOOTHING * (commit_s - self._commit_s)
        self._loop_s = loop_s
        self.halves = self._commit_s < callers * self._item_s


class GroupCommit(Generic[T]):
    """Batches items into transactions, one after another."""

    def __init__(self, write: WriteBatch[T], pace: Pace | None = None) -> None:
        self.observe: ObserveCommit | None = None
        """Called after each batch."""
        self._write = write
        self._waiting: list[_Ticket[T]] = []
        self._busy = False
        """Whether a batch is being written."""
        self._latest = 1
        """Size of the latest batch."""
        self._start_is_due = False
        """Whether a batch will be started soon, of any size."""
        self._pace = pace or Pace()
        self._committing = 0
        """Callers that have called and not yet continued."""
        self._single = 0
        """Successive commits without another caller."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop of the callers: asking for it is a system call."""
        self._idle: asyncio.Future[None] | None = None
        """Whether a caller waits for all commits to end."""

    async def commit(self, item: T) -> None:
        """Store ``item``; durable on return. A cancellation is raised only after the item was stored."""
        self._single = 0 if self._committing else self._single + 1
        self._committing += 1
        ticket = _Ticket(item)
        self._waiting.append(ticket)
        try:
            if not self._busy:
                self._start_if_enough()
            if ticket.done:
                # A loop that awaits nothing but saves must still let other tasks run.
                await anyio.lowlevel.cancel_shielded_checkpoint()
            else:
                self._loop = self._loop or asyncio.get_running_loop()
                ticket.turn = self._loop.create_future()
                await ticket.turn
        except asyncio.CancelledError:
            await self._finished(ticket)
            if ticket.error is None:
                raise
        finally:
            self._committing -= 1
        if ticket.error is not None:
            raise ticket.error

    async def drain(self) -> None:
        """Wait until every item is stored."""
        while self._busy or self._waiting:
            self._idle = self._idle or asyncio.get_running_loop().create_future()
            await self._idle

    async def _finished(self, ticket: _Ticket[T]) -> None:
        """Shielding every save would cost more than all else here, so only a cancelled one pays for it."""
        with anyio.CancelScope(shield=True):
            while not ticket.done:
                ticket.turn = asyncio.get_running_loop().create_future()
                await ticket.turn

    def _start_if_enough(self) -> None:
        """Start a batch now if it is half of the callers; otherwise after those that are ready to save."""
        if self._in_halves and 2 * len(self._waiting) >= self._latest:
            self._start()
        elif not self._start_is_due:
            self._start_is_due = True
            asyncio.get_running_loop().call_soon(self._start_anyway)

    @property
    def _in_halves(self) -> bool:
        return self._single > 0 or (self._pace.halves and not self._write.is_shared)

    def _start_anyway(self) -> None:
        self._start_is_due = False
        if self._waiting and not self._busy:
            self._start()

    def _start(self) -> None:
        """Write the waiting items as one batch."""
        batch, self._waiting = self._waiting, []
        self._latest = len(batch)
        began = time.perf_counter()
        alone = len(batch) == 1 and self._single > ALONE_AFTER
        try:
            errors = self._write([ticket.item for ticket in batch], alone=alone, finish=partial(self._finish, batch, began))
        except Exception as error:  # noqa: BLE001  # raised to every caller of the batch
            errors = [error] * len(batch)
        if errors is None:
            self._busy = True
        else:
            self._settle(batch, began, errors)
            self._wake_if_idle()

    def _finish(self, batch: Sequence[_Ticket[T]], began: float, errors: Errors) -> None:
        self._busy = False
        self._pace.note(len(batch), len(batch) + len(self._waiting), time.perf_counter() - began, time.thread_time())
        self._settle(batch, began, errors)
        if self._waiting:
            self._start_if_enough()
        self._wake_if_idle()

    def _wake_if_idle(self) -> None:
        if self._idle is not None and not self._busy and not self._waiting:
            self._idle.set_result(None)
            self._idle = None

    def _settle(self, batch: Sequence[_Ticket[T]], began: float, errors: Errors) -> None:
        for ticket, error in zip(batch, errors, strict=True):
            ticket.settle(error)
        if self.observe is not None:
            self.observe(sum(error is None for error in errors), time.perf_counter() - began)
