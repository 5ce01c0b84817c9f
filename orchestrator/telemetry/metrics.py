"""The metrics of the runs that this process drives.

Rules of this file:

* Nothing is measured here. Durations and counters come from the collector at its ticks (every two seconds), of worker processes from
  their reports; gauges come from the run when an exporter asks.
* Counters and histograms are of this drive of the run: they begin at zero when it is resumed, as exporters and their servers expect.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from orchestrator.definition.machine import ROLLING_BACK
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.driving.limits import RateGroup
from orchestrator.driving.readings import Meter, Readings
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.lifecycle.instance import TERMINAL
from orchestrator.load import series
from orchestrator.load.buckets import CALL_BOUNDS, WHOLE_BOUNDS, Buckets
from orchestrator.load.live import Live
from orchestrator.load.metered import Metered
from orchestrator.load.thresholds import Verdict
from orchestrator.storage.commits import ObserveCommit
from orchestrator.telemetry.families import Family, Kind, Point, merged
from orchestrator.version import installed_version

PREFIX = "orchestrator_"
KEPT = 5
"""Ended runs whose final values are exported by a process that goes on."""


class DrivenRun(Protocol):
    """A run that this process drives, or that its worker processes drive. :class:`orchestrator.Run` is one."""

    @property
    def id(self) -> str: ...
    @property
    def workflow(self) -> AnyWorkflow: ...
    @property
    def live(self) -> Live: ...
    @property
    def arrivals(self) -> Arrivals | None: ...
    @property
    def arrivals_over(self) -> bool: ...
    @property
    def verdicts(self) -> list[Verdict]: ...
    def meter(self) -> Meter: ...
    def observe_commits(self, observe: ObserveCommit) -> None: ...


class Metrics:
    """The metrics of this process: those of its runs, and the build."""

    def __init__(self) -> None:
        self._runs: dict[str, RunMetrics] = {}
        self._ended: list[str] = []
        """Runs that have ended, the latest last."""
        self._store = Metered()
        """Commits of this process, and those of worker processes whose runs are exported no longer."""

    def add(self, run: DrivenRun) -> None:
        """Export the metrics of a run from now on. Call it before the first tick of its collector."""
        self.remove(run.id)
        self._runs[run.id] = RunMetrics(run)
        run.observe_commits(self._store.committed)

    def end(self, run_id: str) -> None:
        """A run has ended: export its final values until ``KEPT`` further runs have ended, so that they are scraped."""
        self._ended.append(run_id)
        for outdated in self._ended[:-KEPT]:
            self.remove(outdated)

    def remove(self, run_id: str) -> None:
        """Export a run no longer."""
        removed = self._runs.pop(run_id, None)
        if removed is not None:
            _add_commits(self._store, removed.metered)
        self._ended = [one for one in self._ended if one != run_id]

    def families(self) -> list[Family]:
        """All metrics as they are now."""
        build = _family(
            "build_info",
            Kind.GAUGE,
            "Version of the program; always 1.",
            [Point({"version": installed_version(), "python": platform.python_version()}, 1)],
        )
        return merged([build, *self._commits(), *(family for run in self._runs.values() for family in run.families())])

    def _commits(self) -> Iterator[Family]:
        """Of the store, which all runs share."""
        total = Metered()
        for metered in (self._store, *(run.metered for run in self._runs.values())):
            _add_commits(total, metered)
        written = [Point({}, total.checkpoints)]
        yield _family("checkpoints_written", Kind.COUNTER, "Checkpoints that are durable.", written)
        commits = [Point({}, total.commits)]
        yield _family("commit_duration_seconds", Kind.HISTOGRAM, "Commits of the store; one holds many checkpoints.", commits)


def _add_commits(total: Metered, more: Metered) -> None:
    total.checkpoints += more.checkpoints
    total.commits.add(more.commits)


class RunMetrics:
    """The metrics of one run."""

    def __init__(self, run: DrivenRun) -> None:
        self.run = run
        self._workflow = workflow = run.workflow
        self._labels = {"run": run.id, "workflow": workflow.name}
        # Those that will surely be measured begin at zero, so that a server of metrics sees the first increase.
        self._expected = [(state.name, "run", outcome) for state in workflow.states for outcome in state.outcomes]
        self._meter = run.meter()

    @property
    def metered(self) -> Metered:
        """All measurements so far."""
        return self._meter().metered

    def families(self) -> Iterator[Family]:
        """The metrics as they are now."""
        found = self._meter()
        yield from self._durations(found.metered)
        yield from self._counts(found.metered)
        yield from self._instances(found.metered, self.run.live)
        yield from self._arrivals()
        yield from self._rate_groups(found.rate_groups)
        yield from self._process(found)

    def _durations(self, found: Metered) -> Iterator[Family]:
        names, spans = self._workflow.state_named, found.spans
        calls = {call: Buckets(CALL_BOUNDS) for call in self._expected} | found.calls
        segments = [segment.name for segment in self._workflow.segments]
        yield _family(
            "attempt_duration_seconds",
            Kind.HISTOGRAM,
            "Duration of single calls of a handler (run, recover, rollback), by their outcome.",
            [
                self._point(buckets, state=state, handler=handler, outcome=outcome)
                for (state, handler, outcome), buckets in sorted(calls.items())
            ],
        )
        yield _family(
            "state_duration_seconds",
            Kind.HISTOGRAM,
            "Duration of completed states, from when they were due: retries and waits included.",
            [self._point(spans.get(name) or Buckets(WHOLE_BOUNDS), state=name) for name in names],
        )
        yield _family(
            "segment_duration_seconds",
            Kind.HISTOGRAM,
            "Duration of segments of the workflow, of rounds (round) and of whole instances (instance).",
            [
                self._point(spans.get(name) or Buckets(WHOLE_BOUNDS), segment=name)
                for name in (*segments, series.ROUND, series.INSTANCE)
                if name in spans or name == series.INSTANCE
            ],
        )
        lag = [self._point(spans[series.START_LAG])] if series.START_LAG in spans else []
        yield _family("start_lag_seconds", Kind.HISTOGRAM, "By how much arrivals started late.", lag)
        yield _family(
            "rate_group_wait_seconds",
            Kind.HISTOGRAM,
            "Time that attempts waited for their rate group; attempts that did not wait are left out.",
            [self._point(spans[series.wait(group)], group=group) for group in self._groups if series.wait(group) in spans],
        )

    def _counts(self, found: Metered) -> Iterator[Family]:
        states, counters = self._workflow.state_named, found.counters
        retries = [
            self._point(counters[series.retried(name, rollback=rollback)], state=name, handler="rollback" if rollback else "run")
            for name in states
            for rollback in (False, True)
        ]
        yield _family("retries", Kind.COUNTER, "Failed attempts that another attempt follows.", retries)
        errors = [self._point(count, state=state, kind=kind) for (state, kind), count in sorted(found.errors.items())]
        yield _family("errors", Kind.COUNTER, "Failures by state and kind.", errors)
        if self._workflow.round_start is not None:
            rounds = {"done": series.ROUND_DONE, "failed": series.ROUND_FAILED}
            points = [self._point(counters[key], outcome=outcome) for outcome, key in rounds.items()]
            yield _family("rounds", Kind.COUNTER, "Rounds that have ended.", points)

    def _instances(self, found: Metered, live: Live) -> Iterator[Family]:
        counters = found.counters
        started = [self._point(counters[series.STARTED])]
        yield _family("instances_started", Kind.COUNTER, "Instances that this process has started.", started)
        ended = [
            self._point(number, status=status.value)
            for status, number in series.counts_by_status(counters).items()
            if status in TERMINAL
        ]
        yield _family("instances_ended", Kind.COUNTER, "Instances that have ended, by status.", ended)
        places = [self._point(live.states[name].here, state=name) for name in (*self._workflow.state_named, ROLLING_BACK)]
        yield _family("instances_in_state", Kind.GAUGE, "Instances that are in a state now.", places)
        yield self._gauge("instances_active", "Instances that this process drives now.", live.active)
        yield self._gauge("instances_wanted", "Load that a closed scenario wants now; 0 for arrivals.", live.wanted)
        yield self._gauge(
            "instances_in_load",
            "Instances that make load now: in a scenario with rounds, those in a round.",
            live.offered,
        )
        yield self._gauge("places_held_back", "Places of a soak that wait after repeated failures.", live.held_back)

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

    def _rate_groups(self, groups: Mapping[str, RateGroup]) -> Iterator[Family]:
        limits = [self._point(group.per_second, group=name) for name, group in groups.items() if group.per_second is not None]
        yield _family("rate_group_limit", Kind.GAUGE, "Attempts per second that this process may start.", limits)
        pauses = [self._point(group.pauses, group=name) for name, group in groups.items()]
        yield _family("rate_group_pauses", Kind.COUNTER, "Pauses that the server asked for, e.g. by a 429.", pauses)
        paused = [self._point(group.paused_s, group=name) for name, group in groups.items()]
        yield _family("rate_group_paused_seconds", Kind.COUNTER, "Total length of these pauses.", paused)

    def _process(self, found: Readings) -> Iterator[Family]:
        verdicts = [verdict for verdict in self.run.verdicts if verdict.value is not None]
        holds = [self._point(int(verdict.holds), threshold=verdict.text) for verdict in verdicts]
        yield _family("threshold_holds", Kind.GAUGE, "Whether a threshold holds so far (1) or is broken (0).", holds)
        yield self._gauge(
            "scenario_elapsed_seconds", "Seconds of the scenario that have passed, over all processes.", self.run.live.elapsed
        )
        left = found.lease_left_s
        leases = [] if left is None else [self._point(left)]
        yield _family("lease_remaining_seconds", Kind.GAUGE, "Time until the lease expires unless it is renewed.", leases)

    @property
    def _groups(self) -> list[str]:
        return sorted({state.rate_group for state in self._workflow.states if state.rate_group})

    def _gauge(self, name: str, help: str, value: float) -> Family:
        return _family(name, Kind.GAUGE, help, [self._point(value)])

    def _point(self, value: float | Buckets, **labels: str) -> Point:
        return Point(self._labels | labels, value)


def _family(name: str, kind: Kind, help: str, points: Iterable[Point]) -> Family:
    return Family(name=PREFIX + name, kind=kind, help=help, points=list(points))
