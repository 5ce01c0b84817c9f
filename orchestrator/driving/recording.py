"""The exchanges of an instance with the other side: the last ones are kept in case it fails, or all of them if the run says so.

A client that sends requests for a handler calls :func:`record_exchange` with each exchange. That costs next to nothing: an exchange is
masked and written only when it is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol

from orchestrator.lifecycle.run import Recorded
from orchestrator.redaction import Redactor
from orchestrator.secret import Secret

KEPT = 8
"""Exchanges before a failure that are kept."""


class Exchange(Protocol):
    """A request and its answer."""

    def secrets(self) -> Iterable[Secret]:
        """What is secret in its request: an answer to any request may repeat it."""

    def entry(self, secrets: Redactor) -> Mapping[str, Any]:
        """It as an entry of an HTTP archive (HAR 1.2), in which no secret can be read: neither these nor any other.

        Source: http://www.softwareishard.com/blog/har-12-spec/
        """


_current: ContextVar[deque[Exchange] | None] = ContextVar("exchanges", default=None)


def begin_recording(recorded: Recorded) -> deque[Exchange]:
    """Keep the exchanges of the current task, and of tasks that it starts: the latest, or all since the deque was cleared."""
    exchanges: deque[Exchange] = deque(maxlen=KEPT if recorded is Recorded.FAILED else None)
    _current.set(exchanges)
    return exchanges


def recorded_secrets() -> set[Secret]:
    """Those of the requests that the current task has kept."""
    found = set[Secret]()
    for exchange in _current.get() or ():
        try:
            found.update(exchange.secrets())
        except Exception:  # noqa: BLE001, S110  # a bug of the client, which is not worth an instance
            pass
    return found


def record_exchange(exchange: Exchange) -> None:
    """Keep an exchange, if it is one of an instance."""
    exchanges = _current.get()
    if exchanges is not None:
        exchanges.append(exchange)
