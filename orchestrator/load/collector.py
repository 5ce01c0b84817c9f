"""The collector: turns the events of a run into statistics, in windows that the store keeps.

Rules of this file:

* The hot path appends to lists. A tick, every two seconds, turns them into histograms and into rows for the store.
* The stored windows are bounded for a run of any length: once a process has ``WINDOWS`` windows, new ones are twice as
  wide, and the old ones are merged, one pair for each new window.
* Timings are counted here, outcomes of instances never: those are counted from the checkpoints.
"""

from __future__ import annotations

import math
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs
import psutil

from orchestrator.clock import Clock
from orchestrator.definition.machine import ROLLING_BACK
from orchestrator.definition.state import DONE
from orchestrator.definition.workflow import Segment, Workflow
from orchestrator.lifecycle.arrivals import LATE_S
from orchestrator.lifecycle.events import Event, EventKind
from orchestrator.lifecycle.instance import CUT_OFF
from orchestrator.load import series
from orchestrator.load.series import INSTANCE, OF_RUN, ROUND, ROUND_DONE, ROUND_FAILED, START_LAG
from orchestrator.load.statistics import ErrorKey, ErrorTally, Statistics, Window
from orchestrator.storage.base import StoredWindow
from orchestrator.storage.lease import this_process

TICK_S = 2.0
"""How often measurements are stored, and how wide the first windows are: what a kill can lose."""
GRID_SLACK_S = 0.25
"""How late a tick may come and still count as the one that was due."""
WINDOWS = 240
"""Maximum number of windows of one process at one width."""


class Tap(Protocol):
    """Receives each measurement of a collector once, at the tick after it was made."""

    def measured(self, name: str, seconds: Sequence[float]) -> None:
        """Durations of a series that is no series of calls."""

    def called(self, state: str, handler: str, outcome: str, seconds: Sequence[float]) -> None:
        """Durations of the calls of a handler that ended with this outcome."""

    def ticked(self, recent: Window) -> None:
        """The counters and the errors since the last tick."""


_CALL_OUTCOMES = {
    EventKind.RETRY: "retry",
    EventKind.FAILED: "failed",
    EventKind.LEFT_OVER: "left_over",
    EventKind.ROLLING_BACK: "failed",
    EventKind.NOT_FOUND: "not_found",
    EventKind.UNDONE: "undone",
}
"""Outcomes of calls that led to no transition of the workflow."""


@attrs.define
class _Tally:
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


@attrs.define
class _Stored:
    """A closed window of this process, as it is in the store. Its body is compressed: orjson allocates bytes for the largest JSON
    that the data could become, here more than 200 kB for 10 kB, and one window per tick is kept."""

    seq: int
    packed: bytes
    window: Window

    @classmethod
    def of(cls, seq: int, body: bytes, window: Window) -> _Stored:
        """With its row in the store."""
        return cls(seq, zlib.compress(body, 1), window)

    @property
    def body(self) -> bytes:
        """Its row in the store."""
        return zlib.decompress(self.packed)


class Collector:
    """An observer that keeps the statistics of a run; :meth:`tick` returns the rows to store.

    Args:
        elapsed: Tells how many seconds of the scenario have been spent.
        active: Tells how many instances are under way.
        wanted: Tells how many a closed scenario wants.
        rounds: Whether it goes round, so that an instance makes load only in its rounds.
        warm_up: Seconds of the scenario that are not counted.
        length: Seconds of the scenario after which its graceful stop begins; ``None``: it has no end.
        aborted: Tells whether the scenario was ended before that.
        arrivals: Whether instances are due by the clock, so that a start may be late.
        earlier: What earlier processes have stored of the same shards.
        begins: Seconds of the scenario that were spent before.
    """

    stored_only = True

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        clock: Clock,
        *,
        elapsed: Callable[[], float],
        active: Callable[[], int],
        wanted: Callable[[], int] = lambda: 0,
        rounds: bool = False,
        warm_up: float = 0.0,
        length: float | None = None,
        aborted: Callable[[], bool] = lambda: False,
        arrivals: bool = False,
        earlier: Iterable[StoredWindow] = (),
        begins: float | None = None,
    ) -> None:
        self.statistics = Statistics.of(earlier)
        self._begins = self.statistics.elapsed if begins is None else begins
        """As of the last tick."""
        self.place: dict[int, tuple[str, float]] = {}
        """Instance → its state, and since when it is there (steady time)."""
        self.recent: Window = Window(at=0.0, elapsed=0.0)
        """The measurements between the last two ticks."""
        self.tap: Tap | None = None
        """Receives the measurements, too."""
        self._cpu_s, self._process = time.process_time(), str(this_process())
        self._clock = clock
        self._elapsed, self._active, self._warm_up, self._arrivals = elapsed, active, warm_up, arrivals
        self._wanted, self._rounds = wanted, rounds
        self._length, self._aborted = math.inf if length is None else length, aborted
        self._in_round, self._round_end = workflow.in_round, workflow.round_end
        segments = list(workflow.segments)
        if workflow.round_start is not None and workflow.round_end is not None:
            segments.append(Segment(ROUND, workflow.round_start, workflow.round_end))
        self.tallies = {
            state.name: _Tally(
                name=state.name,
                firsts=tuple(span.name for span in segments if span.first == state.name),
                lasts=tuple(span.name for span in segments if span.last == state.name),
                group=series.wait(state.rate_group) if state.rate_group else None,
            )
            for state in workflow.states
        }
        before: Counter[str] = Counter()
        for window in self.statistics.windows:
            before.update(window.counters)  # of the warm-up, too
        self.counters: Counter[str] = Counter({key: n for key, n in before.items() if key in OF_RUN})
        """The counters ``OF_RUN``, over all processes."""
        for tally in self.tallies.values():
            tally.all.update(before)  # it reads those of its state only
        self._all_errors = Window(at=0.0, elapsed=0.0)
        """Of all processes, the warm-up included; of a window, it has the errors only."""
        for window in self.statistics.windows:
            for key, known in window.errors.items():
                self._all_errors.count_error(key, known.example, known.count)
        self._ends = frozenset(workflow.ends)
        self._complete = {DONE, workflow.round_outcome}
        """Outcomes that end a segment."""
        self._begun: dict[int, dict[str, float]] = {}
        """Instance → its open segments → when they began (steady time)."""
        self._series: dict[str, list[float]] = {}
        self._told = self.counters.copy()
        """``counters`` as of the last tick."""
        self._errors: list[tuple[ErrorKey, str]] = []
        self._next_seq = 0
        self._width = TICK_S
        self._closed: list[_Stored] = []
        self._merging: int | None = None
        """The next pair of old windows to merge."""
        self._open: Window | None = None
        self._samples = (0, 0, 0)
        self._load = (0, 0)

    def __call__(self, event: Event) -> None:
        match event.kind:
            case EventKind.MOVED:
                self._moved(event)
            case EventKind.STARTED:
                self._started(event)
            case EventKind.RESUMED:
                self._enter(event.number, event.state)
                self._begun[event.number][INSTANCE] = self._clock.steady() - (event.waited_s or 0.0)
            case EventKind.RETRY | EventKind.FAILED | EventKind.LEFT_OVER:
                self._called(event)
                self._failed(event)
            case EventKind.ROLLING_BACK:
                self._called(event)
                if event.error is not None:
                    self._failed(event)
                self._enter(event.number, ROLLING_BACK)
            case EventKind.NOT_FOUND | EventKind.UNDONE:
                self._called(event)
            case EventKind.ENDED:
                self.counters[series.ended(str(event.outcome))] += 1
                self._leave(event.number)
            case EventKind.SUSPENDED:
                self._leave(event.number)
            case _:
                pass

    @property
    def errors(self) -> Mapping[ErrorKey, ErrorTally]:
        """The errors so far, those of the warm-up included."""
        return self._all_errors.errors

    def steady(self) -> float:
        """The time that ``place`` is told in."""
        return self._clock.steady()

    @property
    def next_tick(self) -> float:
        """Seconds until the next tick is due; one falls on the end of the warm-up, and one on the end of the scenario's time."""
        elapsed = self._elapsed()
        ends = (self._due(elapsed) + TICK_S, self._warm_up, self._length)
        return min((left for end in ends if (left := end - elapsed) > 0.001), default=TICK_S)

    def sample(self) -> None:
        """Note how many instances are under way; not for a window whose time is over, though its tick is a moment late."""
        if self._open is not None and not self._open.over and self._elapsed() >= self._length:
            return
        active = self._active()
        self._samples = (self._samples[0] + active, self._samples[1] + 1, max(self._samples[2], active))
        self._load = (self._load[0] + self._wanted(), self._load[1] + self.offered)

    @property
    def offered(self) -> int:
        """How many instances make load now: those in their rounds if the scenario has rounds, else all that are under way."""
        if not self._rounds:
            return self._active()
        return sum(state in self._in_round for state, _ in self.place.values())

    def tick(self) -> tuple[dict[int, bytes], list[int]]:
        """Take up what was measured since the last tick.

        Returns:
            Rows to store, by sequence number, and the numbers of the rows to delete.
        """
        elapsed = self._on_grid(self._elapsed())
        rows: dict[int, bytes] = {}
        gone: list[int] = []
        if self._open is not None and not self._open.over and self._aborted():
            self._close(self._open, self._open.dumps(), rows, gone)  # as of the last tick, when the scenario was ended
        if self._open is None:
            self._open = self._new_window(elapsed)
        window, total = self._open, self.statistics.total
        recent = self._pour(window, elapsed)
        window.add(recent)
        window.width = elapsed - window.elapsed
        window.read_off()
        if not window.warm:
            total.add(recent)
            total.width += 0.0 if window.over else recent.width
        recent.read_off()
        self.recent = recent
        body = window.dumps()
        rows[self._next_seq] = body
        at_end = elapsed >= (self._warm_up if window.warm else self._length) - 0.002 and not window.over
        if window.width >= self._width * 0.99 or at_end:
            self._close(window, body, rows, gone)
        return rows, gone

    def _on_grid(self, elapsed: float) -> float:
        """The moment that a tick was due, if it comes a little later: windows of all processes end at the same moments of the
        scenario, so that they can be merged by time."""
        due, last = self._due(elapsed), self.statistics.windows[-1] if self.statistics.windows else None
        measured_until = max(self._begins, last.elapsed + last.width if last is not None else 0.0)
        return due if elapsed - due <= GRID_SLACK_S and due > measured_until else elapsed

    def _due(self, elapsed: float) -> float:
        """When the latest tick was due: they are counted from the end of the warm-up, and from the end of the scenario's time."""
        origin = max(begin for begin in (0.0, self._warm_up, self._length) if begin <= elapsed + 0.001)
        return origin + (elapsed + 0.001 - origin) // TICK_S * TICK_S

    def _close(self, window: Window, body: bytes, rows: dict[int, bytes], gone: list[int]) -> None:
        """Nothing more is added to this window."""
        self._closed.append(_Stored.of(self._next_seq, body, window))
        window.histograms = {}
        self._open, self._next_seq = None, self._next_seq + 1
        self._keep_bounded(rows, gone)

    def _new_window(self, elapsed: float) -> Window:
        """It begins where the one before has ended."""
        before = self.statistics.windows[-1] if self._closed else None
        begin = before.elapsed + before.width if before else self._begins
        at = self._clock.now() - (elapsed - begin)
        warm = begin < self._warm_up - 0.002
        over = not warm and (begin >= self._length - 0.002 or self._aborted())
        window = Window(at=at, elapsed=begin, warm=warm, over=over)
        self.statistics.windows.append(window)
        return window

    def _pour(self, window: Window, elapsed: float) -> Window:
        """Flush the measurements since the last tick into a window, and reset."""
        begin = window.elapsed + window.width
        recent = Window(at=window.at + window.width, elapsed=begin, width=elapsed - begin, warm=window.warm, over=window.over)
        for tally in self.tallies.values():
            tally.pour(recent, self.tap)
        for name, values in self._series.items():
            recent.record(name, values)
            if self.tap is not None:
                self.tap.measured(name, values)
        recent.counters.update(self.counters - self._told)
        for key, example in self._errors:
            recent.count_error(key, example)
        self.sample()
        recent.active, recent.load, recent.memory = self._samples, self._load, resident_bytes()
        spent = time.process_time()
        recent.cpu_s, recent.process, self._cpu_s = spent - self._cpu_s, self._process, spent
        self._series, self._told, self._errors = {}, self.counters.copy(), []
        self._samples, self._load = (0, 0, 0), (0, 0)
        if self.tap is not None:
            self.tap.ticked(recent)
        return recent

    def _keep_bounded(self, rows: dict[int, bytes], gone: list[int]) -> None:
        if self._merging is None and len(self._closed) >= WINDOWS:
            self._width *= 2
            self._merging = 0
        if self._merging is None:
            return
        first, second = self._closed[self._merging : self._merging + 2]
        if (first.window.warm, first.window.over) == (second.window.warm, second.window.over):
            merged = self._merge(first, second)
            self._closed[self._merging : self._merging + 2] = [merged]
            rows[merged.seq] = merged.body
            gone.append(second.seq)
        self._merging += 1
        # Stop at the first window that already has the new width.
        if self._merging + 1 >= len(self._closed) or self._closed[self._merging].window.width >= self._width * 0.99:
            self._merging = None

    def _merge(self, first: _Stored, second: _Stored) -> _Stored:
        """Two neighbours become one, also in the statistics."""
        window, other = Window.loads(first.body), Window.loads(second.body)
        window.add(other)
        window.width += other.width
        window.read_off()
        body = window.dumps()
        window.histograms = {}
        windows = self.statistics.windows
        windows[windows.index(first.window)] = window
        windows.remove(second.window)
        return _Stored.of(first.seq, body, window)

    def _started(self, event: Event) -> None:
        self.counters[series.STARTED] += 1
        late = event.waited_s or 0.0
        if self._arrivals:
            self._measure(START_LAG, late)
            self.counters[series.LATE] += late > LATE_S
        self._enter(event.number, event.state)
        # A late start counts in the instance and in segments that begin with it, not in the latency of the first state.
        due = self._clock.steady() - late
        self._begun[event.number] = dict.fromkeys((INSTANCE, *self.tallies[event.state].firsts), due)

    def _moved(self, event: Event) -> None:
        tally, number, now = self.tallies[event.state], event.number, self._clock.steady()
        total = event.total_s or 0.0
        tally.totals.append(total)
        tally.calls[event.handler or "run", str(event.outcome)].append(event.duration_s or 0.0)
        tally.count(series.moved(event.state, str(event.outcome)))
        if event.handler == "recover":
            tally.count(series.recovered(event.state))
        if event.waited_s and tally.group:
            self._measure(tally.group, event.waited_s)
        begun = self._begun.get(number)
        if begun is not None:
            for span in tally.firsts:
                begun.setdefault(span, now - total)
            # A backward transition from the last state of a segment does not end it.
            for span in tally.lasts if event.outcome in self._complete else ():
                if (since := begun.pop(span, None)) is not None:
                    self._measure(span, now - since)
            if event.target in self._ends and INSTANCE in begun:
                self._measure(INSTANCE, now - begun[INSTANCE])
        if event.state == self._round_end and event.outcome in self._complete:
            self.counters[ROUND_DONE] += 1
        self.place[number] = (event.target or "", now)

    def _called(self, event: Event) -> None:
        """One call of a handler."""
        tally = self.tallies.get(event.state)
        if tally is None or event.handler is None:
            return
        tally.calls[event.handler, _CALL_OUTCOMES[event.kind]].append(event.duration_s or 0.0)
        if event.waited_s and tally.group:
            self._measure(tally.group, event.waited_s)

    def _failed(self, event: Event) -> None:
        tally = self.tallies.get(event.state)
        if tally is not None:
            # An instance that was cut off, or whose context cannot be stored, had no call that failed.
            counted = series.retried if event.kind is EventKind.RETRY else series.failed if event.handler else series.cut_off
            tally.count(counted(event.state, rollback=event.handler == "rollback"))
        self.counters[series.ERRORS] += event.handler is not None
        gives_up = event.kind in (EventKind.FAILED, EventKind.ROLLING_BACK) and event.failure != CUT_OFF
        if gives_up and event.state in self._in_round:
            self.counters[ROUND_FAILED] += 1
        place = event.state if event.handler != "rollback" else series.call(event.state, "rollback")
        key, example = (
            ErrorKey(place, event.failure or "unknown", event.code or ""),
            f"{event.run_id}-{event.number}: {event.error}",
        )
        self._errors.append((key, example))
        self._all_errors.count_error(key, example)

    def _enter(self, number: int, state: str) -> None:
        self._begun.setdefault(number, {})
        self.place[number] = (state, self._clock.steady())

    def _leave(self, number: int) -> None:
        self.place.pop(number, None)
        self._begun.pop(number, None)

    def _measure(self, name: str, seconds: float) -> None:
        if name in self._series:
            self._series[name].append(seconds)
        else:
            self._series[name] = [seconds]


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(psutil.Process().memory_info().rss)
