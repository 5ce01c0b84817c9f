"""The metrics of the runs that this process drives.

Rules of this file:

* Nothing is measured here. Durations and counters come from the collector at its ticks (every two seconds), gauges from the run
  when an exporter asks.
* Counters and histograms are of this process: they begin at zero when it resumes a run, as exporters and their servers expect.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from orchestrator.api import AnyRun
from orchestrator.definition.machine import ROLLING_BACK
from orchestrator.lifecycle.instance import TERMINAL
from orchestrator.load import series
from orchestrator.load.window import Window
from orchestrator.telemetry.families import CALL_BOUNDS, COMMIT_BOUNDS, WHOLE_BOUNDS, Buckets, Family, Kind, Point, merged
from orchestrator.version import installed_version

PREFIX = "orchestrator_"
KEPT = 5
"""Ended runs whose final values are exported by a process that goes on."""


class Metrics:
    """The metrics of this process: those of its runs, and the build."""

    def __init__(self) -> None:
        self._runs: dict[str, RunMetrics] = {}
        self._ended: list[str] = []
        """Runs that have ended, the latest last."""
        self._commits = Buckets(COMMIT_BOUNDS)
        self._checkpoints = 0

    def add(self, run: AnyRun) -> None:
        """Export the metrics of a run from now on. Call it before the first tick of its collector."""
        self.remove(run.id)
        self._runs[run.id] = RunMetrics(run)
        run.observe_commits(self._committed)

    def end(self, run_id: str) -> None:
        """A run has ended: export its final values until ``KEPT`` further runs have ended, so that they are scraped."""
        self._ended.append(run_id)
        for outdated in self._ended[:-KEPT]:
            self.remove(outdated)

    def remove(self, run_id: str) -> None:
        """Export a run no longer."""
        self._runs.pop(run_id, None)
        self._ended = [one for one in self._ended if one != run_id]

    def families(self) -> list[Family]:
        """All metrics as they are now."""
        build = _family(
            "build_info",
            Kind.GAUGE,
            "Version of the program; always 1.",
            [Point({"version": installed_version(), "python": platform.python_version()}, 1)],
        )
        return merged([build, *self._store(), *(family for run in self._runs.values() for family in run.families())])

    def _store(self) -> Iterator[Family]:
        """Of the store, which all runs share."""
        written = [Point({}, self._checkpoints)]
        yield _family("checkpoints_written", Kind.COUNTER, "Checkpoints that are durable.", written)
        commits = [Point({}, self._commits)]
        yield _family("commit_duration_seconds", Kind.HISTOGRAM, "Commits of the store; one holds many checkpoints.", commits)

    def _committed(self, checkpoints: int, seconds: float) -> None:
        self._checkpoints += checkpoints
        self._commits.record((seconds,))


class RunMetrics:
    """The metrics of one run; the tap of its collector."""

    def __init__(self, run: AnyRun) -> None:
        self.run = run
        self._workflow = workflow = run.workflow
        self._labels = {"run": run.id, "workflow": workflow.name}
        # Those that will surely be measured begin at zero, so that a server of metrics sees the first increase.
        self._calls = {
            (state.name, "run", outcome): Buckets(CALL_BOUNDS) for state in workflow.states for outcome in state.outcomes
        }
        """State, handler and outcome → durations."""
        self._spans = {name: Buckets(WHOLE_BOUNDS) for name in (*workflow.state_named, series.INSTANCE)}
        """Any other series → durations."""
        self._counters: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        """State and kind of failure → number."""
        run.tap(self)

    def measured(self, name: str, seconds: Sequence[float]) -> None:
        """See :class:`~orchestrator.load.tally.Tap`."""
        if name not in self._spans:
            self._spans[name] = Buckets(WHOLE_BOUNDS)
        self._spans[name].record(seconds)

    def called(self, state: str, handler: str, outcome: str, seconds: Sequence[float]) -> None:
        """See :class:`~orchestrator.load.tally.Tap`."""
        key = (state, handler, outcome)
        if key not in self._calls:
            self._calls[key] = Buckets(CALL_BOUNDS)
        self._calls[key].record(seconds)

    def ticked(self, recent: Window) -> None:
        """See :class:`~orchestrator.load.tally.Tap`."""
        self._counters.update(recent.counters)
        for key, tally in recent.errors.items():
            self._errors[key.state, key.kind] += tally.count

    def families(self) -> Iterator[Family]:
        """The metrics as they are now."""
        yield from self._durations()
        yield from self._counts()
        yield from self._instances()
        yield from self._arrivals()
        yield from self._rate_groups()
        yield from self._process()

    def _durations(self) -> Iterator[Family]:
        names = self._workflow.state_named
        segments = [segment.name for segment in self._workflow.segments]
        yield _family(
            "attempt_duration_seconds",
            Kind.HISTOGRAM,
            "Duration of single calls of a handler (run, recover, rollback), by their outcome.",
            [
                self._point(buckets, state=state, handler=handler, outcome=outcome)
                for (state, handler, outcome), buckets in sorted(self._calls.items())
            ],
        )
        yield _family(
            "state_duration_seconds",
            Kind.HISTOGRAM,
            "Duration of completed states, from when they were due: retries and waits included.",
            [self._point(self._spans[name], state=name) for name in names if name in self._spans],
        )
        yield _family(
            "segment_duration_seconds",
            Kind.HISTOGRAM,
            "Duration of segments of the workflow, of rounds (round) and of whole instances (instance).",
            [
                self._point(self._spans[name], segment=name)
                for name in (*segments, series.ROUND, series.INSTANCE)
                if name in self._spans
            ],
        )
        lag = [self._point(self._spans[series.START_LAG])] if series.START_LAG in self._spans else []
        yield _family("start_lag_seconds", Kind.HISTOGRAM, "By how much arrivals started late.", lag)
        yield _family(
            "rate_group_wait_seconds",
            Kind.HISTOGRAM,
            "Time that attempts waited for their rate group; attempts that did not wait are left out.",
            [
                self._point(self._spans[series.wait(group)], group=group)
                for group in self._groups
                if series.wait(group) in self._spans
            ],
        )

    def _counts(self) -> Iterator[Family]:
        states, counters = self._workflow.state_named, self._counters
        retries = [
            self._point(counters[series.retried(name, rollback=rollback)], state=name, handler="rollback" if rollback else "run")
            for name in states
            for rollback in (False, True)
        ]
        yield _family("retries", Kind.COUNTER, "Failed attempts that another attempt follows.", retries)
        errors = [self._point(count, state=state, kind=kind) for (state, kind), count in sorted(self._errors.items())]
        yield _family("errors", Kind.COUNTER, "Failures by state and kind.", errors)
        if self._workflow.round_start is not None:
            rounds = {"done": series.ROUND_DONE, "failed": series.ROUND_FAILED}
            points = [self._point(counters[key], outcome=outcome) for outcome, key in rounds.items()]
            yield _family("rounds", Kind.COUNTER, "Rounds that have ended.", points)

    def _instances(self) -> Iterator[Family]:
        run, counters = self.run, self._counters
        started = [self._point(counters[series.STARTED])]
        yield _family("instances_started", Kind.COUNTER, "Instances that this process has started.", started)
        ended = [
            self._point(number, status=status.value)
            for status, number in series.counts_by_status(counters).items()
            if status in TERMINAL
        ]
        yield _family("instances_ended", Kind.COUNTER, "Instances that have ended, by status.", ended)
        live = run.live
        places = [self._point(live.states[name].here, state=name) for name in (*self._workflow.state_named, ROLLING_BACK)]
        yield _family("instances_in_state", Kind.GAUGE, "Instances that are in a state now.", places)
        yield self._gauge("instances_active", "Instances that this process drives now.", run.active)
        yield self._gauge("instances_wanted", "Load that a closed scenario wants now; 0 for arrivals.", run.wanted)
        yield self._gauge(
            "instances_in_load",
            "Instances that make load now: in a scenario with rounds, those in a round.",
            live.offered,
        )
        yield self._gauge("places_held_back", "Places of a soak that wait after repeated failures.", run.held_back)

    def _arrivals(self) -> Iterator[Family]:
        arrivals = self.run.arrivals
        if arrivals is None:
            return
        over = self.run.arrivals_over
        yield self._gauge("arrivals_due", "Arrivals that were due so far, over all processes.", arrivals.due)
        yield self._gauge("arrivals_started", "Arrivals that have started, over all processes.", arrivals.started)
        yield self._gauge("arrivals_waiting", "Arrivals that are due and wait for a free place.", 0 if over else arrivals.waiting)
        yield self._gauge(
            "arrivals_missed", "Arrivals that never started before the scenario ended.", arrivals.waiting if over else 0
        )

    def _rate_groups(self) -> Iterator[Family]:
        groups = self.run.rate_groups
        limits = [self._point(group.per_second, group=name) for name, group in groups.items() if group.per_second is not None]
        yield _family("rate_group_limit", Kind.GAUGE, "Attempts per second that this process may start.", limits)
        pauses = [self._point(group.pauses, group=name) for name, group in groups.items()]
        yield _family("rate_group_pauses", Kind.COUNTER, "Pauses that the server asked for, e.g. by a 429.", pauses)
        paused = [self._point(group.paused_s, group=name) for name, group in groups.items()]
        yield _family("rate_group_paused_seconds", Kind.COUNTER, "Total length of these pauses.", paused)

    def _process(self) -> Iterator[Family]:
        run = self.run
        holds = [self._point(int(verdict.holds), threshold=verdict.text) for verdict in run.verdicts if verdict.value is not None]
        yield _family("threshold_holds", Kind.GAUGE, "Whether a threshold holds so far (1) or is broken (0).", holds)
        yield self._gauge(
            "scenario_elapsed_seconds", "Seconds of the scenario that have passed, over all processes.", run.elapsed
        )
        yield self._gauge("lease_remaining_seconds", "Time until the lease expires unless it is renewed.", run.lease_left_s)

    @property
    def _groups(self) -> list[str]:
        return sorted({state.rate_group for state in self._workflow.states if state.rate_group})

    def _gauge(self, name: str, help: str, value: float) -> Family:
        return _family(name, Kind.GAUGE, help, [self._point(value)])

    def _point(self, value: float | Buckets, **labels: str) -> Point:
        return Point(self._labels | labels, value)


def _family(name: str, kind: Kind, help: str, points: Iterable[Point]) -> Family:
    return Family(name=PREFIX + name, kind=kind, help=help, points=list(points))
