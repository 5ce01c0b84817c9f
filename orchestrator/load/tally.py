"""Tally: the measurements of one state between two ticks. It only appends and counts: a tick makes histograms of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs

from orchestrator.definition.state import AnyState
from orchestrator.definition.workflow import Segment
from orchestrator.load import series
from orchestrator.load.window import Window


class Tap(Protocol):
    """Receives each measurement of a run once, at the tick after it was made."""

    def measured(self, name: str, seconds: Sequence[float]) -> None:
        """Durations of a series that is no series of calls."""

    def called(self, state: str, handler: str, outcome: str, seconds: Sequence[float]) -> None:
        """Durations of the calls of a handler that ended with this outcome."""

    def ticked(self, recent: Window) -> None:
        """The counters and the errors since the last tick."""


@attrs.define
class Tally:
    """Measurements of one state since the last tick."""

    name: str
    firsts: tuple[str, ...]
    """Segments that begin with this state."""
    lasts: tuple[str, ...]
    """Segments that end with this state."""
    group: str | None
    """Series of the waits for its rate group."""
    totals: list[float] = attrs.field(factory=list)
    calls: dict[tuple[str, str], list[float]] = attrs.field(factory=lambda: defaultdict(list))
    """Handler and outcome → durations."""
    counters: dict[str, int] = attrs.field(factory=dict)
    all: Counter[str] = attrs.field(factory=Counter)
    """The counters up to the last tick."""

    @classmethod
    def of(cls, state: AnyState, segments: Iterable[Segment], before: Counter[str]) -> Tally:
        """Without measurements.

        Args:
            before: Counters of earlier processes; it reads those of its state only.
        """
        return cls(
            name=state.name,
            firsts=tuple(span.name for span in segments if span.first == state.name),
            lasts=tuple(span.name for span in segments if span.last == state.name),
            group=series.wait(state.rate_group) if state.rate_group else None,
            all=before.copy(),
        )

    def count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1

    def so_far(self, name: str) -> int:
        """A counter over all processes."""
        return self.all[name] + self.counters.get(name, 0)

    def pour(self, window: Window, tap: Tap | None) -> None:
        """Flush into ``window`` and reset."""
        if self.totals:
            window.record(self.name, self.totals)
            if tap is not None:
                tap.measured(self.name, self.totals)
            self.totals.clear()
        for (handler, outcome), values in self.calls.items():
            if values:
                window.record(series.call(self.name, handler), values)
                if tap is not None:
                    tap.called(self.name, handler, outcome, values)
                values.clear()
        for name, count in self.counters.items():
            window.counters[name] += count
        self.all.update(self.counters)
        self.counters.clear()
