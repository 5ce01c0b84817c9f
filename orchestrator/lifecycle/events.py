"""What the driver tells: frozen records, stored as the history of an instance and handed to observers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

import anyio
import attrs


class EventKind(StrEnum):
    """What happened. The first two are told to observers only, the others are part of the stored history."""

    ATTEMPT = "attempt"
    """A handler is about to be called."""
    ANSWER = "answer"
    """A handler has returned or failed; nothing is stored yet."""
    STARTED = "started"
    MOVED = "moved"
    """A transition: the state ended with ``outcome`` and the instance went to ``target``."""
    RETRY = "retry"
    """An attempt failed and another one is due."""
    NOT_FOUND = "not_found"
    """``recover`` looked and found nothing."""
    ROLLING_BACK = "rolling_back"
    UNDONE = "undone"
    LEFT_OVER = "left_over"
    FAILED = "failed"
    """An attempt failed for good, and the instance is kept as it is."""
    PUT_BACK = "put_back"
    """The user wants a failed instance to be tried again: it is back in the state that failed."""
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    ENDED = "ended"
    """The instance reached a terminal status, which is ``outcome``."""


@attrs.frozen(kw_only=True, slots=False)  # no slots: a frozen class is made in half the time with a dictionary
class Event:
    """One thing that happened to one instance. ``at`` is Unix time, ``duration_s`` that of the attempt."""

    run_id: str
    number: int
    kind: EventKind
    at: float
    state: str
    handler: str | None = None
    """``run``, ``recover`` or ``rollback``."""
    attempt: int | None = None
    outcome: str | None = None
    target: str | None = None
    duration_s: float | None = None
    error: str | None = None
    failure: str | None = None
    """Kind of the failure (see :class:`~orchestrator.lifecycle.instance.Failure`)."""
    code: str | None = None
    """Its code."""
    waited_s: float | None = None
    """How long the attempt waited for its rate group; of a start, how late it was; of a resumption, how long it had been under
    way, interruptions left out. Observed, not stored."""
    total_s: float | None = None
    """Since the state was due, retries and waits included. Observed, not stored."""
    seq: int | None = None
    """Place in the history of the instance, from 1; ``None`` for what is only observed."""


class Observer(Protocol):
    """Told of every event, in order, on the event loop: it must be quick and may not block.

    Stored events are told after they are durable. An exception raised here stops the run, which stays
    resumable: an observer that cannot do its work is not ignored. One that has an attribute ``stored_only`` which is true
    is not told of attempts and answers: telling them costs, in a run of many.
    """

    def __call__(self, event: Event) -> None: ...


class EventStream:
    """An async iterator over events for a consumer that may be slower than the run.

    It never holds the run up and never grows beyond ``capacity``: the oldest are dropped, and ``missed`` counts
    them. (The history in the store has all of them.)
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._wake = anyio.Event()
        self._closed = False
        self.missed = 0

    def __call__(self, event: Event) -> None:
        if len(self._events) == self._events.maxlen:
            self.missed += 1
        self._events.append(event)
        self._wake.set()

    def close(self) -> None:
        """No more events will come."""
        self._closed = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            if self._wake.is_set():
                self._wake = anyio.Event()  # one for all who wait
            await self._wake.wait()
