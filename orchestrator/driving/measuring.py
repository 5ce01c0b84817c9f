"""The statistics keeper: measures and stores the load of this process, and judges thresholds on the numbers of all processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import attrs

from orchestrator.driving.admission import Admission
from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.limits import RateLimits
from orchestrator.driving.options import AnyJob
from orchestrator.driving.orders import Abort, Follower
from orchestrator.driving.plan import Plan
from orchestrator.driving.readings import Meter, Readings
from orchestrator.errors import StaleEpochError, StoreError, StoreLostError
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord
from orchestrator.load.abort import ends_scenario
from orchestrator.load.collector import Collector, Progress
from orchestrator.load.live import Live, live_of
from orchestrator.load.metered import Metered
from orchestrator.load.series import ABORTED, MISSED, STARTED, counts_by_status
from orchestrator.load.statistics import Statistics
from orchestrator.load.threshold_parser import parse_all
from orchestrator.load.thresholds import Measured, Verdict
from orchestrator.load.timeline import Interval, Rows
from orchestrator.load.window import Window

SAMPLES = 4
"""Samples of the number of active instances per tick of the statistics."""
OTHERS_EVERY = 5
"""Ticks between two reads of the other processes' statistics."""


class StatisticsKeeper:
    """The measurements of a run as seen by this process: its own up to the last tick, those of others up to the last read."""

    def __init__(
        self,
        job: AnyJob,
        record: RunRecord,
        plan: Plan,
        leases: LeaseKeeper,
        admission: Admission,
        limits: RateLimits,
        follower: Follower | None = None,
    ) -> None:
        self.collector: Collector
        """Set by :meth:`open`."""
        self.broken: str | None = None
        """The threshold that ended the scenario."""
        self._job = job
        self._record = record
        self._plan = plan
        self._leases = leases
        self._admission = admission
        self._thresholds = parse_all(record.thresholds, job.workflow)
        self._others = Statistics()
        self._follower = follower
        self._limits = limits
        self._readings: Meter | None = None
        """For the launcher, if it exports metrics."""
        self._unsaved: dict[int, bytes] = {}
        self._outdated: set[int] = set()

    async def open(self) -> None:
        """Read earlier measurements, and start measuring."""
        scenario, admission = self._record.scenario, self._admission
        rows = await self._job.store.statistics(self._record.id) if self._plan.measures else []
        ours = set(self._leases.share.indices)
        self._others = Statistics.of(row for row in rows if row.shard not in ours)
        self.collector = Collector(
            self._job.workflow,
            self._job.clock,
            Progress(
                elapsed=lambda: admission.elapsed,
                active=lambda: admission.active,
                wanted=lambda: admission.wanted,
                aborted=lambda: admission.aborted,
            ),
            Interval(warm_up=scenario.warm_up, length=scenario.length),
            rounds=scenario.rounds != 1,
            arrivals=scenario.is_open,
            earlier=[row for row in rows if row.shard in ours],
            begins=admission.elapsed,
        )
        if self._follower is not None and self._follower.orders.metered:
            self._readings = self.meter()
            self._job.store.observe_commits(self._readings().metered.committed)
        self._end_if_aborted()

    async def keep(self, fail: Callable[[Exception], None]) -> None:
        """At every tick, store the measurements and, if the run aborts on thresholds, check them; until cancelled."""
        ticks = 0
        while True:
            # The end of the warm-up falls on a tick; between ticks only the number of active instances is sampled.
            wait = self.collector.next_tick / SAMPLES
            for number in range(SAMPLES):
                await self._job.clock.sleep(wait)
                self.collector.sample()
                if number == SAMPLES // 2:
                    self._report(Rows())
            try:
                await self.save()
                ticks += 1
                if self._follower is None and not self._leases.share.is_all and ticks % OTHERS_EVERY == 0:
                    await self._look_at_others()
                self._judge()
            except (StaleEpochError, StoreLostError) as error:
                fail(error)
            except StoreError:
                pass  # kept for the next tick; the checkpoints report a store that has failed

    async def save(self) -> None:
        """Store the measurements up to now."""
        rows = self.collector.tick()
        try:
            if self._plan.measures:
                await self._store(rows)
        finally:
            self._report(rows)

    async def _store(self, rows: Rows) -> None:
        self._unsaved |= rows.stored
        self._outdated |= set(rows.gone)
        elapsed = self._admission.elapsed
        await self._job.store.save_statistics(self._leases.shards, self._unsaved, self._outdated, elapsed)
        self._unsaved, self._outdated = {}, set()

    def meter(self) -> Meter:
        """See :class:`~orchestrator.driving.engine.Engine`."""
        metered = self.collector.tap = Metered()

        def read() -> Readings:
            left_s = self._leases.lease.left_s if self._leases.shards else None
            return Readings(metered=metered, rate_groups=self._limits.groups, lease_left_s=left_s)

        return read

    @property
    def live(self) -> Live:
        """The numbers of this process, over all that have driven its shards."""
        admission = self._admission
        return live_of(
            self.collector,
            self._job.workflow,
            elapsed=admission.elapsed,
            started=admission.started,
            wanted=admission.wanted,
            held_back=admission.held,
        )

    @property
    def arrivals(self) -> Arrivals | None:
        """The arrivals of an open scenario so far. An abort freezes the number of overdue ones."""
        scenario = self._admission.scenario
        if not scenario.is_open or not self._plan.measures:
            return None
        counters = self._counters
        started = self._admission.started + sum(window.counters[STARTED] for window in self._others.windows)
        found = scenario.arrivals(self._admission.elapsed, started)
        if not counters[ABORTED]:
            return found
        missed = counters[MISSED]
        return attrs.evolve(found, due=started + missed, overdue=missed, expected_missed=missed)

    def abort(self, by: Abort) -> None:
        """End the scenario, because the launcher has found a threshold broken."""
        if self._admission.aborted or not self._plan.measures:
            return
        self.broken = by.threshold
        if by.recorder in self._leases.share.indices:
            self.collector.counters[MISSED] += by.missed
            self.collector.counters[ABORTED] += 1
        self._admission.abort()

    def verdicts(self) -> list[Verdict]:
        """Judge all thresholds now."""
        measured = self._measured()
        return [threshold.judge(measured) for threshold in self._thresholds]

    @property
    def _counters(self) -> Counter[str]:
        """Counters of all processes, including the warm-up."""
        found = Counter(self.collector.counters)
        for window in self._others.windows:
            found.update(window.counters)
        return found

    def _measured(self) -> Measured:
        """Counts include the warm-up, as the final ones will."""
        counters = self._counters
        counts = counts_by_status(counters)
        counts[Status.RUNNING] = max(0, counters[STARTED] - sum(counts.values()))
        measured = Measured(statistics=self.collector.statistics.beside(self._others), counts=counts)
        if (arrivals := self.arrivals) is None:
            return measured
        overdue, expected = arrivals.overdue, arrivals.expected_missed
        return attrs.evolve(measured, missed=overdue, overdue=overdue, due=arrivals.due, expected_missed=expected)

    def _report(self, rows: Rows) -> None:
        """Tell the launcher the numbers so far, and the windows that have changed."""
        if self._follower is None:
            return
        windows: dict[str, str | None] = {}
        total = None
        if self._follower.judged and self._plan.measures:
            first = self._leases.shards[0]
            windows = {f"{first.epoch}.{seq}": body.decode() for seq, body in rows.stored.items()}
            windows |= dict.fromkeys((f"{first.epoch}.{seq}" for seq in rows.gone), None)
            total = self.collector.statistics.total.dumps().decode() if rows.stored else None
        live = self.live
        if not rows.stored:  # between two ticks: the launcher has the latest latencies already
            live = attrs.evolve(live, recent=Window(at=0.0, elapsed=0.0))
        # Counters of metrics never fall, so that readings hold nothing that a kill would lose.
        readings = self._readings() if self._readings is not None and rows.stored and not self._unsaved else None
        self._follower.report(live, total, windows, readings)

    async def _look_at_others(self) -> None:
        ours = set(self._leases.share.indices)
        rows = await self._job.store.statistics(self._record.id)
        self._others = Statistics.of(row for row in rows if row.shard not in ours)
        self._end_if_aborted()

    def _end_if_aborted(self) -> None:
        """End the scenario here if another process, or an earlier one, has found a threshold broken."""
        if self._plan.measures and self._counters[ABORTED]:
            self._admission.abort()

    def _judge(self) -> None:
        """End the scenario at a threshold that is certainly broken, if the run asks for that."""
        scenario = self._admission.scenario
        in_time = scenario.length is None or self._admission.elapsed < scenario.length
        if not (self._plan.measures and self._record.abort and in_time) or self.broken or self._follower is not None:
            return
        measured = self._measured()
        broken = next((one for one in self._thresholds if ends_scenario(one, measured, scenario)), None)
        if broken is not None:
            self.broken = f"{broken.text} (it is {broken.judge(measured).value})"
            if (arrivals := self.arrivals) is not None:
                self.collector.counters[MISSED] += arrivals.overdue
            self.collector.counters[ABORTED] += 1
            self._admission.abort()
