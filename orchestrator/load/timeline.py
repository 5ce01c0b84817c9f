"""The timeline: the windows of one process, on the grid of the scenario, as they are stored. Their number is bounded for a run of any
length: once there are ``WINDOWS``, new ones are twice as wide, and the old ones are merged, one pair for each new window."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import attrs

from orchestrator.load.packing import PackedHistograms
from orchestrator.load.statistics import Statistics
from orchestrator.load.window import Window
from orchestrator.storage.records import StoredWindow

TICK_S = 2.0
"""Seconds between two writes of measurements, and the width of the first windows. A kill can lose as much."""
GRID_SLACK_S = 0.25
"""How late a tick may come and still count as the one that was due."""
WINDOWS = 120
"""Maximum number of windows of one process at one width."""

_ROUNDING_S = 0.002


@attrs.frozen(kw_only=True)
class Interval:
    """The measured interval, in seconds of the scenario."""

    warm_up: float = 0.0
    """Its begin."""
    length: float | None = None
    """Its end, where the graceful stop begins; ``None``: it has none."""

    @property
    def end(self) -> float:
        """The end; infinite: there is none."""
        return math.inf if self.length is None else self.length


@attrs.frozen
class _Closed:
    """A closed window of this process, with the histograms that a merge needs."""

    seq: int
    window: Window
    histograms: PackedHistograms


@attrs.define
class Rows:
    """The changes of the stored windows: rows to store, by sequence number, and the numbers of the rows to delete."""

    stored: dict[int, bytes] = attrs.field(factory=dict)
    gone: list[int] = attrs.field(factory=list)


class Timeline:
    """The windows of this process, and the statistics of the run.

    Args:
        begins: Seconds of the scenario that were spent before; ``None``: as far as ``earlier`` reaches.
        aborted: Tells whether the scenario was ended before its time.
        earlier: Windows that earlier processes have stored of the same shards.
    """

    def __init__(
        self, interval: Interval, begins: float | None, aborted: Callable[[], bool], earlier: Iterable[StoredWindow]
    ) -> None:
        self.statistics = Statistics.of(earlier)
        self.recent = Window(at=0.0, elapsed=0.0)
        """The measurements between the last two ticks."""
        self._begins = self.statistics.elapsed if begins is None else begins
        self._interval = interval
        self._aborted = aborted
        self._open: Window | None = None
        self._closed: list[_Closed] = []
        self._next_seq = 0
        self._width = TICK_S
        self._merging: int | None = None
        """The next pair of old windows to merge."""

    def next_tick(self, elapsed: float) -> float:
        """Seconds until the next tick is due; one falls on the end of the warm-up, and one on the end of the scenario's time."""
        ends = (self._due(elapsed) + TICK_S, self._interval.warm_up, self._interval.end)
        return min((left for end in ends if (left := end - elapsed) > 0.001), default=TICK_S)

    def is_full(self, elapsed: float) -> bool:
        """Whether the time of the open window is over, though its tick is a moment late."""
        return self._open is not None and not self._open.over and elapsed >= self._interval.end

    def tick(self, elapsed: float, now: float, measure: Callable[[Window], None]) -> Rows:
        """Add the measurements since the last tick.

        Args:
            elapsed: Seconds of the scenario.
            now: Unix time.
            measure: Fills a window with them.
        """
        elapsed, rows = self._on_grid(elapsed), Rows()
        if self._open is not None and not self._open.over and self._aborted():
            self._close(self._open, rows)  # as of the last tick, when the scenario was ended
        if self._open is None:
            self._open = self._new_window(elapsed, now)
        window = self._open
        self.recent = recent = _following(window, elapsed)
        measure(recent)
        recent.read_off()
        if not window.warm:
            self.statistics.total.add(recent)
            self.statistics.total.width += 0.0 if window.over else recent.width
        window.add(recent)
        window.width = elapsed - window.elapsed
        window.read_off()
        rows.stored[self._next_seq] = window.dumps()
        end = self._interval.warm_up if window.warm else self._interval.end
        if window.width >= self._width * 0.99 or (elapsed >= end - _ROUNDING_S and not window.over):
            self._close(window, rows)
        return rows

    def _on_grid(self, elapsed: float) -> float:
        """The moment that a tick was due, if it comes a little later: windows of all processes end at the same moments of the
        scenario, so that they can be merged by time."""
        due, last = self._due(elapsed), self.statistics.windows[-1] if self.statistics.windows else None
        measured_until = max(self._begins, last.elapsed + last.width if last is not None else 0.0)
        return due if elapsed - due <= GRID_SLACK_S and due > measured_until else elapsed

    def _due(self, elapsed: float) -> float:
        """When the latest tick was due: they are counted from the end of the warm-up, and from the end of the scenario's time."""
        begins = (0.0, self._interval.warm_up, self._interval.end)
        origin = max(begin for begin in begins if begin <= elapsed + 0.001)
        return origin + (elapsed + 0.001 - origin) // TICK_S * TICK_S

    def _new_window(self, elapsed: float, now: float) -> Window:
        """It begins where the one before has ended."""
        before = self.statistics.windows[-1] if self._closed else None
        begin = before.elapsed + before.width if before else self._begins
        warm = begin < self._interval.warm_up - _ROUNDING_S
        over = not warm and (begin >= self._interval.end - _ROUNDING_S or self._aborted())
        window = Window(at=now - (elapsed - begin), elapsed=begin, warm=warm, over=over)
        self.statistics.windows.append(window)
        return window

    def _close(self, window: Window, rows: Rows) -> None:
        """Nothing more is added to this window."""
        rows.stored.setdefault(self._next_seq, window.dumps())
        self._closed.append(_packed(self._next_seq, window))
        self._open, self._next_seq = None, self._next_seq + 1
        self._keep_bounded(rows)

    def _keep_bounded(self, rows: Rows) -> None:
        if self._merging is None and len(self._closed) >= WINDOWS:
            self._width *= 2
            self._merging = 0
        if self._merging is None:
            return
        first, second = self._closed[self._merging : self._merging + 2]
        if (first.window.warm, first.window.over) == (second.window.warm, second.window.over):
            self._closed[self._merging : self._merging + 2] = [self._merged(first, second, rows)]
        self._merging += 1
        # Stop at the first window that already has the new width.
        if self._merging + 1 >= len(self._closed) or self._closed[self._merging].window.width >= self._width * 0.99:
            self._merging = None

    def _merged(self, first: _Closed, second: _Closed, rows: Rows) -> _Closed:
        """Two neighbours as one, also in the statistics."""
        window, other = first.window, second.window
        window.histograms, other.histograms = first.histograms.unpacked(), second.histograms.unpacked()
        window.add(other)
        window.width += other.width
        window.read_off()
        rows.stored[first.seq] = window.dumps()
        rows.gone.append(second.seq)
        self.statistics.windows.remove(other)
        return _packed(first.seq, window)


def _following(window: Window, elapsed: float) -> Window:
    """An empty window from the end of this one until ``elapsed``, for its next measurements."""
    begin = window.elapsed + window.width
    return Window(at=window.at + window.width, elapsed=begin, width=elapsed - begin, warm=window.warm, over=window.over)


def _packed(seq: int, window: Window) -> _Closed:
    """A window whose histograms are packed."""
    packed = PackedHistograms.of(window.histograms)
    window.histograms = {}
    return _Closed(seq, window, packed)
