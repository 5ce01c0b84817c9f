"""The observers of a run in this process."""

from __future__ import annotations

from orchestrator.lifecycle.events import EventStream, Observer


class Observers:
    """Who is told of events."""

    def __init__(self) -> None:
        self.all: list[Observer] = []
        """Told of what is stored."""
        self.attempts: list[Observer] = []
        """Told of attempts and answers, too."""
        self._streams: list[EventStream] = []
        self._closed = False

    def add(self, observer: Observer) -> None:
        """From now on."""
        self.all.append(observer)
        if not getattr(observer, "stored_only", False):
            self.attempts.append(observer)

    def stream(self) -> EventStream:
        """A new stream of events; it ends with the run."""
        stream = EventStream()
        self.add(stream)
        self._streams.append(stream)
        if self._closed:
            stream.close()
        return stream

    def close(self) -> None:
        """No more events will come."""
        self._closed = True
        for stream in self._streams:
            stream.close()
