"""The last exchanges of an instance with the other side, kept for the case that it fails.

Whoever sends requests for a handler calls :func:`record` with each exchange. It costs next to nothing: an exchange is put into
words, with its secrets masked, only when the instance has failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from orchestrator.secret import Secret

KEPT = 8
"""Exchanges before a failure that are kept."""


class Exchange(Protocol):
    """A request and its answer."""

    def entry(self, secrets: Iterable[Secret]) -> Mapping[str, Any]:
        """It as an entry of an HTTP archive (HAR 1.2), in which no secret can be read: neither these nor any other.

        Source: http://www.softwareishard.com/blog/har-12-spec/
        """


_current: ContextVar[deque[Exchange] | None] = ContextVar("exchanges", default=None)


def begin_recording() -> deque[Exchange]:
    """Keep the latest exchanges of the current task, and of tasks that it starts."""
    exchanges: deque[Exchange] = deque(maxlen=KEPT)
    _current.set(exchanges)
    return exchanges


def record(exchange: Exchange) -> None:
    """Keep an exchange, if it is one of an instance."""
    exchanges = _current.get()
    if exchanges is not None:
        exchanges.append(exchange)
