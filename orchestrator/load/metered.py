"""Metered: everything that was measured since a process began to drive, as exporters of metrics need it.

It only grows. Those of several processes can be added, and travel as JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.load.buckets import CALL_BOUNDS, COMMIT_BOUNDS, WHOLE_BOUNDS, Buckets
from orchestrator.load.window import Window

Call = tuple[str, str, str]
"""State, handler, outcome."""


class Metered:
    """The measurements of a process, or of several. See :class:`~orchestrator.load.tally.Tap`."""

    def __init__(self) -> None:
        self.calls: dict[Call, Buckets] = {}
        """Durations of the calls of handlers."""
        self.spans: dict[str, Buckets] = {}
        """Any other series → durations."""
        self.counters: Counter[str] = Counter()
        self.errors: Counter[tuple[str, str]] = Counter()
        """State and kind of failure → number."""
        self.checkpoints = 0
        """Checkpoints that are durable."""
        self.commits = Buckets(COMMIT_BOUNDS)
        """Durations of the commits that made them so."""

    def measured(self, name: str, seconds: Sequence[float]) -> None:
        """See ``Tap``."""
        self._span(name).record(seconds)

    def called(self, state: str, handler: str, outcome: str, seconds: Sequence[float]) -> None:
        """See ``Tap``."""
        self._call((state, handler, outcome)).record(seconds)

    def ticked(self, recent: Window) -> None:
        """See ``Tap``."""
        self.counters.update(recent.counters)
        for key, tally in recent.errors.items():
            self.errors[key.state, key.kind] += tally.count

    def committed(self, checkpoints: int, seconds: float) -> None:
        """A commit of the store has ended."""
        self.checkpoints += checkpoints
        self.commits.record((seconds,))

    def add(self, other: Metered) -> None:
        """Add the measurements of another process."""
        for call, buckets in other.calls.items():
            self._call(call).add(buckets)
        for name, buckets in other.spans.items():
            self._span(name).add(buckets)
        self.counters.update(other.counters)
        self.errors.update(other.errors)
        self.checkpoints += other.checkpoints
        self.commits.add(other.commits)

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "calls": [[*call, buckets.dumps()] for call, buckets in self.calls.items() if buckets.total],
            "spans": {name: buckets.dumps() for name, buckets in self.spans.items() if buckets.total},
            "counters": self.counters,
            "errors": [[*key, count] for key, count in self.errors.items()],
            "checkpoints": self.checkpoints,
            "commits": self.commits.dumps() if self.commits.total else None,
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Metered:
        """The inverse of :meth:`data`."""
        found = cls()
        for state, handler, outcome, body in data["calls"]:
            found.calls[state, handler, outcome] = Buckets.loads(CALL_BOUNDS, body)
        for name, body in data["spans"].items():
            found.spans[name] = Buckets.loads(WHOLE_BOUNDS, body)
        found.counters.update(data["counters"])
        for state, kind, count in data["errors"]:
            found.errors[state, kind] = count
        found.checkpoints = data["checkpoints"]
        if data["commits"] is not None:
            found.commits = Buckets.loads(COMMIT_BOUNDS, data["commits"])
        return found

    def _call(self, call: Call) -> Buckets:
        if call not in self.calls:
            self.calls[call] = Buckets(CALL_BOUNDS)
        return self.calls[call]

    def _span(self, name: str) -> Buckets:
        if name not in self.spans:
            self.spans[name] = Buckets(WHOLE_BOUNDS)
        return self.spans[name]
