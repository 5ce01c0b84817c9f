"""The observers of a run in this process, and the border that keeps their failures out of the run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

import attrs

from orchestrator.lifecycle.events import Event, EventStream, Observer

_log = logging.getLogger("orchestrator.observers")


@attrs.frozen(kw_only=True)
class ObserverFailure:
    """An observer that raised an exception. It received no further event."""

    observer: str
    """Name of its function or class."""
    event: str
    """Kind of the event that it failed on."""
    error: str
    """Class and text of the exception."""

    def __str__(self) -> str:
        return f"the observer {self.observer} failed on the event {self.event!r} and was switched off: {self.error}"


class Observers:
    """Calls the observers of a run. One that raises is logged and switched off; the run goes on.

    ``collector`` is none of them: without it the run would be judged on a part of its measurements, so its failure ends the run.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self.collector: Observer | None = None
        """Receives each stored event first."""
        self.failures: list[ObserverFailure] = []
        self._stored: tuple[Observer, ...] = ()
        self._attempts: tuple[Observer, ...] = ()
        self._streams: list[EventStream] = []
        self._closed = False
        for observer in observers:
            self.add(observer)

    @property
    def observe_attempts(self) -> bool:
        """Whether any observer wants the events of attempts."""
        return bool(self._attempts)

    @property
    def observe_any(self) -> bool:
        """Whether there is any observer."""
        return bool(self._stored)

    def add(self, observer: Observer) -> None:
        """Add an observer, which receives events from now on."""
        self._stored = (*self._stored, observer)
        if not getattr(observer, "stored_only", False):
            self._attempts = (*self._attempts, observer)

    def stream(self) -> EventStream:
        """Open a new stream of events; it ends with the run."""
        stream = EventStream()
        self.add(stream)
        self._streams.append(stream)
        if self._closed:
            stream.close()
        return stream

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for stream in self._streams:
            stream.close()

    def publish(self, events: Iterable[Event]) -> None:
        """Call the collector and all observers with events that are durable."""
        for event in events:
            if self.collector is not None:
                self.collector(event)
            if self._stored:
                self._call(self._stored, event)

    def publish_attempt(self, event: Event) -> None:
        """Call the observers of attempts with an event that is not stored."""
        self._call(self._attempts, event)

    def _call(self, observers: Sequence[Observer], event: Event) -> None:
        for observer in observers:
            try:
                observer(event)
            # A `CancelledError` is no cancellation here, because nothing is awaited: the observer asked a cancelled future.
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # a border: it must not end the run
                self._switch_off(observer, event, error)

    def _switch_off(self, observer: Observer, event: Event, error: BaseException) -> None:
        self._stored = tuple(one for one in self._stored if one is not observer)
        self._attempts = tuple(one for one in self._attempts if one is not observer)
        name = getattr(observer, "__qualname__", type(observer).__qualname__)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        failure = ObserverFailure(observer=name, event=event.kind.value, error=text)
        self.failures.append(failure)
        _log.error("%s; the run goes on", failure, exc_info=error)
