"""The recorder: turns the events of a run into measurements, and knows where each instance is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.clock import Clock
from orchestrator.definition.machine import ROLLING_BACK
from orchestrator.definition.state import DONE
from orchestrator.definition.workflow import AnyWorkflow, Segment
from orchestrator.lifecycle.arrivals import LATE_S
from orchestrator.lifecycle.events import Event, EventKind
from orchestrator.lifecycle.instance import CUT_OFF
from orchestrator.load import series
from orchestrator.load.series import INSTANCE, OF_RUN, ROUND, ROUND_DONE, ROUND_FAILED, START_LAG
from orchestrator.load.tally import Tally, Tap
from orchestrator.load.window import ErrorKey, ErrorTally, Window

_CALL_OUTCOMES = {
    EventKind.RETRY: "retry",
    EventKind.FAILED: "failed",
    EventKind.LEFT_OVER: "left_over",
    EventKind.ROLLING_BACK: "failed",
    EventKind.NOT_FOUND: "not_found",
    EventKind.UNDONE: "undone",
}
"""Outcomes of calls that led to no transition of the workflow."""


class Recorder:
    """Measurements since the last tick, and counters of the whole run.

    Args:
        arrivals: Whether instances are due by the clock, so that a start may be late.
        earlier: The windows of earlier processes, those of the warm-up included.
    """

    def __init__(self, workflow: AnyWorkflow, clock: Clock, *, arrivals: bool, earlier: Sequence[Window]) -> None:
        self.place: dict[int, tuple[str, float]] = {}
        """Instance → its state, and since when it is there (steady time)."""
        self._clock, self._arrivals = clock, arrivals
        self._in_round, self._round_end, self._ends = workflow.in_round, workflow.round_end, frozenset(workflow.ends)
        self._complete = {DONE, workflow.round_outcome}
        """Outcomes that end a segment."""
        all_errors, before = _sum_of(earlier)
        segments = _segments(workflow)
        self.tallies = {state.name: Tally.of(state, segments, before) for state in workflow.states}
        self.counters: Counter[str] = Counter({key: n for key, n in before.items() if key in OF_RUN})
        """The counters ``OF_RUN``, over all processes."""
        self._told = self.counters.copy()
        """``counters`` as of the last tick."""
        self._all_errors = all_errors
        self._errors: list[tuple[ErrorKey, str]] = []
        self._begun: dict[int, dict[str, float]] = {}
        """Instance → its open segments → when they began (steady time)."""
        self._series: dict[str, list[float]] = {}

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

    @property
    def in_rounds(self) -> int:
        """Instances that are in their rounds now."""
        return sum(state in self._in_round for state, _ in self.place.values())

    def pour(self, window: Window, tap: Tap | None) -> None:
        """Flush the measurements since the last tick into ``window``, and reset."""
        for tally in self.tallies.values():
            tally.pour(window, tap)
        for name, values in self._series.items():
            window.record(name, values)
            if tap is not None:
                tap.measured(name, values)
        window.counters.update(self.counters - self._told)
        for key, example in self._errors:
            window.count_error(key, example)
        self._series, self._told, self._errors = {}, self.counters.copy(), []

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
        tally, number, now, outcome = self.tallies[event.state], event.number, self._clock.steady(), str(event.outcome)
        total = event.total_s or 0.0
        tally.totals.append(total)
        tally.calls[event.handler or "run", outcome].append(event.duration_s or 0.0)
        tally.count(series.moved(event.state, outcome))
        if event.handler == "recover":
            tally.count(series.recovered(event.state))
        if event.waited_s and tally.group:
            self._measure(tally.group, event.waited_s)
        begun = self._begun.get(number)
        if begun is not None:
            for span in tally.firsts:
                begun.setdefault(span, now - total)
            # A backward transition from the last state of a segment does not end it.
            for span in tally.lasts if outcome in self._complete else ():
                if (since := begun.pop(span, None)) is not None:
                    self._measure(span, now - since)
            if event.target in self._ends and INSTANCE in begun:
                self._measure(INSTANCE, now - begun[INSTANCE])
        if event.state == self._round_end and outcome in self._complete:
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
        key = ErrorKey(place, event.failure or "unknown", event.code or "")
        example = f"{event.run_id}-{event.number}: {event.error}"
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


def _segments(workflow: AnyWorkflow) -> list[Segment]:
    """The segments of the workflow, and its round."""
    if workflow.round_start is None or workflow.round_end is None:
        return list(workflow.segments)
    return [*workflow.segments, Segment(ROUND, workflow.round_start, workflow.round_end)]


def _sum_of(windows: Sequence[Window]) -> tuple[Window, Counter[str]]:
    """Their errors, as those of one window, and their counters."""
    errors, counters = Window(at=0.0, elapsed=0.0), Counter[str]()
    for window in windows:
        counters.update(window.counters)
        for key, known in window.errors.items():
            errors.count_error(key, known.example, known.count)
    return errors, counters
