"""Recording: the requests and answers of an instance, kept as evidence of a failure or, if the run says so, of everything.

A client that sends requests for a handler calls :func:`record_exchange` with each exchange. That is cheap: an exchange is
masked and written only when it is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Protocol

from orchestrator.lifecycle.run import Recorded
from orchestrator.redaction import Redactor
from orchestrator.secret import Secret, secrets_in

KEPT = 8
"""Number of latest exchanges that are kept until a failure."""


class Exchange(Protocol):
    """A request and its answer."""

    def secrets(self) -> Iterable[Secret]:
        """The secrets of the request. The answer to any request may repeat them."""

    def entry(self, secrets: Redactor) -> Mapping[str, object]:
        """An entry of an HTTP archive (HAR 1.2), with these secrets and the exchange's own masked.

        Source: http://www.softwareishard.com/blog/har-12-spec/
        """


class Recording:
    """The exchanges of one instance that are not stored yet: the latest ones, or all."""

    def __init__(self, recorded: Recorded) -> None:
        self.exchanges: deque[Exchange] = deque(maxlen=KEPT if recorded is Recorded.FAILED else None)

    def begin(self) -> None:
        """Keep the exchanges of the current task, and of the tasks that it starts, from now on."""
        _current.set(self)

    def clear(self) -> None:
        """Drop the kept exchanges."""
        self.exchanges.clear()

    def take(self, *contexts: object) -> list[Mapping[str, object]] | None:
        """The exchanges as masked entries, removed from the recording; ``None`` if there are none.

        Args:
            contexts: The instance's contexts whose secrets must be masked. The newest secrets are in the context that
                the attempt returned.
        """
        if not self.exchanges:
            return None
        known = (secret for context in contexts for secret in secrets_in(context))
        secrets = Redactor((*known, *recorded_secrets()))
        entries: list[Mapping[str, object]] = []
        for exchange in self.exchanges:
            try:
                entries.append(exchange.entry(secrets))
            except Exception as error:  # noqa: BLE001  # evidence must never stop an instance
                entries.append({"comment": f"this exchange cannot be shown ({type(error).__name__})"})
        self.exchanges.clear()
        return entries


_current: ContextVar[Recording | None] = ContextVar("recording", default=None)


def recorded_secrets() -> set[Secret]:
    """The secrets in the requests that the current task has kept."""
    found = set[Secret]()
    recording = _current.get()
    for exchange in recording.exchanges if recording is not None else ():
        try:
            found.update(exchange.secrets())
        except Exception:  # noqa: BLE001, S110  # a bug of the client must not stop an instance
            pass
    return found


def record_exchange(exchange: Exchange) -> None:
    """Keep an exchange. Outside a handler this does nothing."""
    recording = _current.get()
    if recording is not None:
        recording.exchanges.append(exchange)
