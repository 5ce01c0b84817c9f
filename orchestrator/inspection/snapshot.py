"""A run at one moment, as a live view needs it. It is read by counts and statistics alone: no instance is decoded, so it costs
the same for a hundred instances as for a hundred thousand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

from orchestrator.clock import SystemClock
from orchestrator.inspection.measurements import Measurements, measure
from orchestrator.inspection.result import result_from
from orchestrator.inspection.standing import driver, standing
from orchestrator.inspection.stored_run import AnyStoredRun
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.lifecycle.instance import NOT_COMPLETED, RESUMABLE, TERMINAL, Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.load.series import STARTED, count_ended, rounds_done
from orchestrator.load.statistics import Statistics
from orchestrator.load.window import Window
from orchestrator.storage.base import Store
from orchestrator.storage.records import Shard

RECENT_S = 10.0
"""Rates are those of the latest seconds."""


@attrs.frozen(kw_only=True)
class Rates:
    """The pace of a run over the last ``RECENT_S`` seconds of its scenario, per second."""

    started: float
    ended: float
    rounds: float
    errors: float
    concurrency: float
    """Active instances, on average."""
    wanted: float
    due: float | None
    """Arrivals that came due; ``None`` in a closed scenario."""


@attrs.frozen(kw_only=True)
class Snapshot:
    """See the module."""

    run: AnyStoredRun
    shards: tuple[Shard, ...]
    counts: Mapping[Status, int]
    here: Mapping[str, int]
    """State → unfinished instances that are in it."""
    places: Mapping[tuple[Status, str], int]
    oldest: Mapping[str, tuple[int, float]]
    """State → number of the instance that has been there longest, and for how many seconds."""
    effects: Mapping[str, int]
    """Kind → effects that exist."""
    measurements: Measurements
    arrivals: Arrivals | None
    rates: Rates
    elapsed: float
    """Seconds of the scenario until now."""
    at: float
    """Unix time."""

    @property
    def record(self) -> RunRecord:
        """The run."""
        return self.run.record

    @property
    def statistics(self) -> Statistics:
        """Its measurements so far."""
        return self.measurements.statistics

    @property
    def standing(self) -> str:
        """The status in words, with the processes that drive the run."""
        return standing(self.record, self.shards)

    @property
    def is_driven(self) -> bool:
        """Whether a process drives it now."""
        return any(driver(shard) is not None for shard in self.shards)

    @property
    def is_finished(self) -> bool:
        """Whether no work is left."""
        return self.record.status is RunStatus.FINISHED

    @property
    def active(self) -> int:
        """Unfinished instances that were admitted."""
        return sum(self.counts.get(status, 0) for status in RESUMABLE - {Status.PENDING})

    @property
    def failed(self) -> int:
        """Instances that ended without success."""
        return sum(self.counts.get(status, 0) for status in NOT_COMPLETED)

    @property
    def ended(self) -> int:
        """Instances that ended."""
        return sum(self.counts.get(status, 0) for status in TERMINAL)


@attrs.frozen(kw_only=True)
class Counted:
    """Counts over all instances of a run; for a hundred thousand, counting takes some time."""

    places: Mapping[tuple[Status, str], int]
    """Status and position → instances."""
    effects: Mapping[str, int]
    """Kind → effects that exist."""


async def count(store: Store, run_id: str) -> Counted:
    """Count the instances and the effects of a run."""
    return Counted(places=await store.counts(run_id), effects=await store.effects(run_id))


async def snapshot(run: AnyStoredRun, statistics: Statistics, counted: Counted) -> Snapshot:
    """A run as it is stored now.

    Args:
        statistics: Its measurements, which the caller may have cached.
        counted: Its instances and effects, which the caller may have cached as well.
    """
    store, run_id = run.store, run.record.id
    shards = await store.shards(run_id)
    places = counted.places
    result = result_from(run.record, places)
    here: Counter[str] = Counter()
    for (status, position), count in places.items():
        if status in RESUMABLE:
            here[position] += count
    now = SystemClock().now()
    unfinished = any(here.values())
    oldest = await store.oldest(run_id) if unfinished else {}
    scenario, arrivals, elapsed = run.record.scenario, None, _elapsed(statistics, shards, now)
    if scenario.is_open:
        started = result.total - result.counts.get(Status.PENDING, 0)
        arrivals = scenario.arrivals(elapsed, started)
    return Snapshot(
        run=run,
        shards=tuple(shards),
        counts=result.counts,
        here=here,
        places=places,
        oldest={state: (number, max(0.0, now - at)) for state, (number, at) in oldest.items()},
        effects=counted.effects,
        measurements=measure(run.workflow, run.record, result, statistics),
        arrivals=arrivals,
        rates=_rates(run, statistics),
        elapsed=elapsed,
        at=now,
    )


def _elapsed(statistics: Statistics, shards: list[Shard], now: float) -> float:
    """Seconds of the scenario until now: the statistics are stored every few seconds only."""
    if not statistics.windows or not any(driver(shard) for shard in shards):
        return statistics.elapsed
    last = statistics.windows[-1]
    return statistics.elapsed + max(0.0, now - last.at - last.width)


def _rates(run: AnyStoredRun, statistics: Statistics) -> Rates:
    recent = _recent(statistics.windows)
    width = sum(window.width for window in recent)
    scenario, counters = run.record.scenario, Counter[str]()
    for window in recent:
        counters.update(window.counters)

    def rate(number: float) -> float:
        return number / width if width else 0.0

    due = None
    if scenario.is_open:
        end = statistics.elapsed
        due = rate(scenario.arrivals(end, 0).due - scenario.arrivals(max(0.0, end - width), 0).due)
    return Rates(
        started=rate(counters[STARTED]),
        ended=rate(count_ended(counters)),
        rounds=rate(sum(counters[name] for name in rounds_done(run.workflow))),
        errors=rate(sum(tally.count for window in recent for tally in window.errors.values())),
        concurrency=recent[-1].concurrency if recent else 0.0,
        wanted=recent[-1].wanted if recent else 0.0,
        due=due,
    )


def _recent(windows: list[Window]) -> list[Window]:
    found: list[Window] = []
    for window in reversed(windows):
        if found and sum(one.width for one in found) + window.width > RECENT_S:
            break
        if window.width > 0:
            found.insert(0, window)
    return found
