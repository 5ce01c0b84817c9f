"""The observers of a run in this process."""

from __future__ import annotations

from orchestrator.lifecycle.events import EventStream, Observer


class Observers:
    """Receivers of events."""

    def __init__(self) -> None:
        self.all: list[Observer] = []
        """Receive stored events."""
        self.attempts: list[Observer] = []
        """Receive events of attempts and replies, too."""
        self._streams: list[EventStream] = []
        self._closed = False

    def add(self, observer: Observer) -> None:
        """Add an observer, which receives events from now on."""
        self.all.append(observer)
        if not getattr(observer, "stored_only", False):
            self.attempts.append(observer)

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
