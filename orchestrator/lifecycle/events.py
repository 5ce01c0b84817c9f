"""Events: frozen records of the steps of an instance, stored as its history and passed to observers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Protocol

import anyio
import attrs

from orchestrator.lifecycle.instance import Again

REQUESTED = "requested"
"""Outcome of a rollback that a user asks for, of an instance that had ended."""


class EventKind(StrEnum):
    """Kind of an event. The first two are for observers only, the others are part of the stored history."""

    ATTEMPT = "attempt"
    """A handler is about to be called."""
    ANSWER = "answer"
    """A handler has returned or failed; its result is not stored yet."""
    STARTED = "started"
    MOVED = "moved"
    """A transition: the state ended with ``outcome``, and the instance moved to ``target``."""
    RETRY = "retry"
    """An attempt failed, and another one will follow."""
    NOT_FOUND = "not_found"
    """``recover`` found no effect."""
    ROLLING_BACK = "rolling_back"
    UNDONE = "undone"
    LEFT_OVER = "left_over"
    FAILED = "failed"
    """An attempt failed permanently, and the instance is kept as it is."""
    PUT_BACK = "put_back"
    """A failed instance is back in the state that failed (``retry``)."""
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    ENDED = "ended"
    """The instance reached a terminal status, which is ``outcome``."""


@attrs.frozen(kw_only=True, slots=False)  # no slots: a frozen class is made in half the time with a dictionary
class Event:
    """One event of one instance. ``at`` is Unix time, ``duration_s`` the duration of the attempt."""

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
    """Code of the failure."""
    waited_s: float | None = None
    """For an attempt, its wait for the rate group; for a start, how late it was; for a resumption, how long the instance had
    been active, without interruptions. Not stored."""
    total_s: float | None = None
    """Seconds since the state was due, retries and waits included. Not stored."""
    created_at: float | None = None
    """When the instance was created, as Unix time. Not stored."""
    again: Again | None = None
    """How the instance was last continued after its end. Not stored with the event."""
    seq: int | None = None
    """Number of the event in the history of the instance, from 1; ``None`` if it is not stored."""


class Observer(Protocol):
    """Called with every event, in order, on the event loop: it must be fast and may not block.

    It is called with a stored event after the event is durable. An observer that raises an exception is switched off: the
    run goes on, the exception is logged once (``orchestrator.observers``), and ``RunResult.observer_failures`` names it.
    Set an attribute ``stored_only = True`` to skip the events of attempts; runs of many instances are then faster.
    """

    def __call__(self, event: Event) -> None: ...


class EventStream:
    """An async iterator over events, for a consumer that may be slower than the run.

    It never delays the run, and it never holds more than ``capacity`` events: the oldest are dropped, and ``missed`` counts
    them. (The history in the store is complete.)
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
        """End the iteration after the events that it holds."""
        self._closed = True
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            if self._wake.is_set():
                self._wake = anyio.Event()  # all consumers wait for the same one
            await self._wake.wait()
