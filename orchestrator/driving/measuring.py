"""The statistics keeper: measures what this process drives, stores it, and judges thresholds on the numbers of all processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs

from orchestrator.driving.admission import Admission
from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.options import Job
from orchestrator.driving.plan import Plan
from orchestrator.errors import StaleEpochError, StoreError, StoreLostError
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord
from orchestrator.lifecycle.scenario import Arrivals
from orchestrator.load.abort import ends_scenario
from orchestrator.load.collector import Collector
from orchestrator.load.series import ABORTED, MISSED, STARTED, counts_by_status
from orchestrator.load.statistics import Statistics
from orchestrator.load.thresholds import Measured, Verdict, parse_all

SAMPLES = 4
"""How often, between two ticks of the statistics, the instances under way are counted."""
OTHERS_EVERY = 5
"""Ticks between two looks at the statistics of the other processes of a run."""


class StatisticsKeeper:
    """The measurements of a run as this process sees them: its own as of the last tick, those of others as of their last look."""

    def __init__(self, job: Job[Any, Any], record: RunRecord, plan: Plan, leases: LeaseKeeper, admission: Admission) -> None:
        self.collector: Collector
        """There after :meth:`open`."""
        self.broken: str | None = None
        """The threshold that ended the scenario."""
        self._job = job
        self._record = record
        self._plan = plan
        self._leases = leases
        self._admission = admission
        self._thresholds = parse_all(record.thresholds, job.workflow)
        self._others = Statistics()
        self._unsaved: dict[int, bytes] = {}
        self._outdated: set[int] = set()

    async def open(self) -> None:
        """Read what was measured before, and begin to measure."""
        scenario, admission = self._record.scenario, self._admission
        rows = await self._job.store.statistics(self._record.id) if self._plan.measures else []
        ours = set(self._leases.share.indices)
        self._others = Statistics.of(row for row in rows if row.shard not in ours)
        self.collector = Collector(
            self._job.workflow,
            self._job.clock,
            elapsed=lambda: admission.elapsed,
            active=lambda: admission.active,
            wanted=lambda: admission.wanted,
            rounds=scenario.rounds != 1,
            warm_up=scenario.warm_up,
            length=scenario.length,
            aborted=lambda: admission.aborted,
            arrivals=scenario.is_open,
            earlier=[row for row in rows if row.shard in ours],
            begins=self._leases.elapsed,
        )
        self._end_if_aborted()

    async def keep(self, fail: Callable[[Exception], None]) -> None:
        """Store what was measured at every tick, and end the scenario at a broken threshold if the run says so; until cancelled."""
        ticks = 0
        while True:
            # The end of the warm-up lies on a tick; in between, only how many are under way is noted.
            wait = self.collector.next_tick / SAMPLES
            for _ in range(SAMPLES):
                await self._job.clock.sleep(wait)
                self.collector.sample()
            try:
                await self.save()
                ticks += 1
                if not self._leases.share.is_all and ticks % OTHERS_EVERY == 0:
                    await self._look_at_others()
                self._judge()
            except (StaleEpochError, StoreLostError) as error:
                fail(error)
            except StoreError:
                pass  # kept for the next time; a store that has failed is reported by the checkpoints

    async def save(self) -> None:
        """Store what was measured up to now."""
        rows, gone = self.collector.tick()
        if not self._plan.measures:
            return
        self._unsaved |= rows
        self._outdated |= set(gone)
        elapsed = self._admission.elapsed
        await self._job.store.save_statistics(self._leases.shards, self._unsaved, self._outdated, elapsed)
        self._unsaved, self._outdated = {}, set()

    @property
    def arrivals(self) -> Arrivals | None:
        """The arrivals of an open scenario so far; those that an aborted one had no turn for stay as they were then."""
        if not self._record.scenario.is_open or not self._plan.measures:
            return None
        counters = self._counters
        started = self._admission.started + sum(window.counters[STARTED] for window in self._others.windows)
        found = self._record.scenario.arrivals(self._admission.elapsed, started)
        if not counters[ABORTED]:
            return found
        missed = counters[MISSED]
        return attrs.evolve(found, due=started + missed, overdue=missed, expected_missed=missed)

    def verdicts(self) -> list[Verdict]:
        """How the thresholds stand."""
        measured = self._measured()
        return [threshold.judge(measured) for threshold in self._thresholds]

    @property
    def _counters(self) -> Counter[str]:
        """Of all processes, the warm-up included."""
        found = Counter(self.collector.counters)
        for window in self._others.windows:
            found.update(window.counters)
        return found

    def _measured(self) -> Measured:
        """Instances are counted from the start, as they will be in the end; the warm-up is no exception."""
        counters = self._counters
        counts = counts_by_status(counters)
        counts[Status.RUNNING] = max(0, counters[STARTED] - sum(counts.values()))
        measured = Measured(statistics=self.collector.statistics.beside(self._others), counts=counts)
        if (arrivals := self.arrivals) is None:
            return measured
        overdue, expected = arrivals.overdue, arrivals.expected_missed
        return attrs.evolve(measured, missed=overdue, overdue=overdue, due=arrivals.due, expected_missed=expected)

    async def _look_at_others(self) -> None:
        ours = set(self._leases.share.indices)
        rows = await self._job.store.statistics(self._record.id)
        self._others = Statistics.of(row for row in rows if row.shard not in ours)
        self._end_if_aborted()

    def _end_if_aborted(self) -> None:
        """A threshold that another process, or an earlier one, has found broken ends the scenario here too."""
        if self._plan.measures and self._counters[ABORTED]:
            self._admission.abort()

    def _judge(self) -> None:
        """End the scenario at a threshold that is broken beyond doubt, if that is wanted."""
        scenario = self._record.scenario
        in_time = scenario.length is None or self._admission.elapsed < scenario.length
        if not (self._plan.measures and self._record.abort and in_time) or self.broken:
            return
        measured = self._measured()
        broken = next((one for one in self._thresholds if ends_scenario(one, measured, scenario)), None)
        if broken is not None:
            self.broken = f"{broken.text} (it is {broken.judge(measured).value})"
            if (arrivals := self.arrivals) is not None:
                self.collector.counters[MISSED] += arrivals.overdue
            self.collector.counters[ABORTED] += 1
            self._admission.abort()
