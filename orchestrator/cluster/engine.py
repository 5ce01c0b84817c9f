"""The engine that spreads a run over worker processes. It runs in the launcher.

Rules of this file:

* The launcher holds the leases of all shards that wait, so that no other process takes them, and hands one over when a worker is
  free. The store decides who may write; the pool decides who drives next.
* A part whose process is gone is driven again, before parts that wait: by any worker, from its last checkpoints.
* Rates are divided by ``slots``, the most parts that are driven at once. They grow only after every worker has confirmed its
  smaller share, so that the tenant's limit holds at every moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
import attrs

from orchestrator.cluster.attempts import Attempts
from orchestrator.cluster.common_start import CommonStart
from orchestrator.cluster.gathering import Gathering
from orchestrator.cluster.judge import Judge
from orchestrator.cluster.numbers import RunNumbers
from orchestrator.cluster.pattern import pattern_of
from orchestrator.cluster.pool import Ending, OpenPool, Pool, PoolPlan, Task, TaskEnd, WorkerLostError
from orchestrator.cluster.relay import Batch
from orchestrator.cluster.schedule import Part, parts_of, places_for, runs_at_once
from orchestrator.cluster.shielded import finish_within
from orchestrator.cluster.slots import Slots
from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.limits import RateGroup
from orchestrator.driving.observers import Observers
from orchestrator.driving.options import AnyJob
from orchestrator.driving.orders import Abort, Orders, Report
from orchestrator.driving.plan import Plan
from orchestrator.driving.readings import Meter
from orchestrator.driving.reuse import ReusedInstances
from orchestrator.driving.shard import ShardDriver
from orchestrator.errors import CheckpointError, ClusterError, StoreError
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.lifecycle.run import RunRecord
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.collector import Collector
from orchestrator.load.live import Live
from orchestrator.load.series import ABORTED
from orchestrator.load.thresholds import Verdict
from orchestrator.load.timeline import TICK_S

LOOK_EVERY_S = 1.0
"""How often the launcher counts workers and repeats orders that are not confirmed."""
START_DELAY_S = 0.2
"""From the agreement on a common start to the start."""
CANCEL_LIMIT_S = 5.0
"""How long workers may take to suspend everything."""
FAILURES = 5
"""Tasks of one part that may fail in a row because of the store or a lost lease."""
SLACK_S = 1.0
"""A worker reports once a second."""
AGAIN_S = 1.0
"""Pause before a part that failed, or that another process holds, is tried again."""


class ClusterEngine:
    """See :class:`~orchestrator.driving.engine.Engine`.

    Args:
        open_pool: Opens the worker processes.
        store: URL of the store, for the workers.
    """

    def __init__(
        self,
        job: AnyJob,
        record: RunRecord,
        plan: Plan,
        leases: LeaseKeeper,
        reused: ReusedInstances[Any] | None,
        number: int | None,
        *,
        open_pool: OpenPool,
        store: str,
    ) -> None:
        self.has_reset = not plan.resets
        self.unreadable: Sequence[CheckpointError] = ()
        self.broken: str | None = None
        self.collector: Collector | None = None
        self._job, self._record, self._plan, self._leases = job, record, plan, leases
        self._reused, self._number = reused, number
        self._open_pool = open_pool
        self._store = store
        self._judge = Judge(job.workflow, record, plan)
        self._at_once = runs_at_once(record.scenario, plan)
        self._attempts = Attempts(job.clock)
        self._waiting: list[Part] = []
        """Urgent ones first."""
        self._orders = Orders(number=1, start_at=None if self._at_once else 0.0)
        self._slots_since = 0
        """Number of the orders that raised the slots."""
        self._changed = anyio.Event()
        """Set when a part may be able to start, or has ended."""
        self._news = anyio.Event()
        """Set when somebody waits for orders."""
        self._before = self._began = 0.0
        """Seconds of the scenario before this launch, and the steady time when the workers were there."""
        self._slots = Slots()
        self._start = CommonStart()
        self._gathering = Gathering(job, record.id, leases)
        self._task: Task | None = None
        """Pattern of all tasks."""

    @property
    def live(self) -> Live:
        return self._numbers.live

    @property
    def rate_groups(self) -> dict[str, RateGroup]:
        return self._gathering.rate_groups

    def meter(self) -> Meter:
        self._give(metered=True)
        return self._gathering.meter()

    @property
    def arrivals(self) -> Arrivals | None:
        return self._numbers.arrivals() if self._plan.measures else None

    def verdicts(self) -> list[Verdict]:
        return self._judge.verdicts

    def close(self) -> None:
        self._give(stop=True)

    def change(self, scenario: Scenario) -> None:
        """The workers look into the store themselves; parts that begin later get their places by this scenario."""
        self._record = attrs.evolve(self._record, scenario=scenario)
        self._numbers.change(scenario)

    def obey(self, orders: Orders) -> None:
        raise AssertionError("a launcher follows nobody")

    async def open(self, observers: Observers) -> None:
        rows = await self._job.store.statistics(self._record.id) if self._plan.measures else []
        shards = await self._job.store.shards(self._record.id)
        self._of = len(shards)
        self._numbers = RunNumbers(self._job, self._record, len(shards), rows, judged=bool(self._judge))
        self._end_if_broken()

    async def keep(self, fail: Callable[[Exception], None]) -> None:
        while True:
            await self._job.clock.sleep(TICK_S)
            self._end_if_broken()

    async def save(self) -> None:
        """The workers store the measurements."""

    async def done(self) -> list[int]:
        return []  # the shards that are still ours have not been driven

    async def drive(
        self, services: Any, settings: Any, stopping: anyio.Event, fail: Callable[[Exception], None], observers: Observers
    ) -> None:
        if not self.has_reset:
            resetting = ShardDriver(self._job, self._record, self._plan, self._leases, self._reused, self._number)
            await resetting.reset(services, observers)
            self.has_reset = resetting.has_reset
        self._task = pattern_of(self._job, self._record, settings, store=self._store, judged=bool(self._judge))
        async with self._gathering.driving(observers):
            await finish_within(
                CANCEL_LIMIT_S, partial(self._spread, fail), fail, on_cancel=lambda: self._give(stop=True, cancel=True)
            )

    async def _spread(self, fail: Callable[[Exception], None]) -> None:
        """Open the pool and let its workers drive everything."""
        left = [shard.index for shard in self._leases.shards]
        assert self._task is not None
        plan = PoolPlan(run_id=self._record.id, store=self._store, workflow=self._task.workflow, on_message=self._take)
        async with self._open_pool(plan) as pool:
            workers = await pool.size()
            self._before, self._began = self.live.elapsed, self._job.clock.steady()
            self._waiting = parts_of(left, workers, at_once=self._at_once)
            self._give(slots=None if self._at_once else min(workers, len(left)), observed=self._gathering.observed)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._look_after, pool)
                async with anyio.create_task_group() as parts:
                    await self._start_parts(pool, parts, fail)
                tasks.cancel_scope.cancel()

    async def _start_parts(self, pool: Pool, tasks: anyio.abc.TaskGroup, fail: Callable[[Exception], None]) -> None:
        """Start parts while places are free, until none waits and none runs."""
        while self._attempts or (self._waiting and not self._orders.stop):
            self._changed = anyio.Event()
            while not self._orders.stop and (part := self._next_part()) is not None:
                attempt = f"{self._record.id}-{part.shards[0]}-{uuid4().hex[:8]}"
                self._waiting.remove(part)
                self._attempts.begin(attempt, part)
                tasks.start_soon(self._run, pool, attempt, part, fail)
            await self._changed.wait()

    @property
    def _elapsed(self) -> float:
        """Seconds of the scenario, for shards that wait while others are driven; if all are driven at once, each has its own."""
        return 0.0 if self._at_once else self._before + self._job.clock.steady() - self._began

    def _next_part(self) -> Part | None:
        """The part to start now, if any."""
        if not self._waiting:
            return None
        part = self._waiting[0]
        if self._at_once:
            return part
        slots = self._orders.slots or 1
        # All who drive now must divide the rates by the slots of now; new ones do.
        if len(self._attempts) >= slots or (self._record.rates and not self._attempts.confirm(self._slots_since)):
            return None
        part.places = places_for(self._record.scenario, slots, self._attempts.parts, part, self._of)
        return part if part.places else None

    async def _run(self, pool: Pool, attempt: str, part: Part, fail: Callable[[Exception], None]) -> None:
        assert self._task is not None
        try:
            await self._leases.hand_over(part.shards)
            task = attrs.evolve(self._task, shards=part.shards, places=part.places, elapsed=self._elapsed)
            task, part.attempts = attrs.evolve(task, attempt=attempt, orders=self._orders), part.attempts + 1
            try:
                end = await pool.run(task, urgent=part.attempts > 1)
                if end.report is not None:
                    self._take(attempt, end.report)
                await self._gathering.wait_for(attempt, end)
            except WorkerLostError:
                end = TaskEnd(ending=Ending.GONE, error="its process has died again and again")
            await self._act_on(end, part, fail)
        except (StoreError, ClusterError) as error:
            fail(error)
        finally:
            self._attempts.end(attempt)
            self._gathering.end(attempt)
            self._numbers.rest(part.shards)
            self._changed.set()

    async def _act_on(self, end: TaskEnd, part: Part, fail: Callable[[Exception], None]) -> None:
        """Queue a part again whose task has not finished it."""
        if end.ending is Ending.DONE:
            return
        if end.ending is Ending.UNREADABLE:
            self.unreadable = (*self.unreadable, CheckpointError(end.error))
            return
        if (error := _fatal(end, part)) is not None:
            fail(ClusterError(error))
            return
        if end.ending not in {Ending.STOPPED, Ending.GONE}:
            await anyio.sleep(AGAIN_S)
        self._waiting.insert(0, part)

    async def _look_after(self, pool: Pool) -> None:
        """Once a second: count the workers, agree on the start, and repeat orders that are not confirmed."""
        while True:
            with anyio.move_on_after(LOOK_EVERY_S):
                await self._news.wait()
            self._news = anyio.Event()
            await self._count_workers(pool)
            await self._agree_on_start(pool)
            self._give(observed=self._gathering.observed)
            for attempt in self._attempts.behind(self._orders.number):
                await pool.send(attempt, self._orders)
            for attempt in self._attempts.silent(self._job.options.lease_s + SLACK_S):  # its lease has expired
                pool.replace(attempt)

    async def _count_workers(self, pool: Pool) -> None:
        """Divide the rates by the workers that there are; see the rules of this file."""
        if self._at_once:
            return
        slots = self._orders.slots or 1
        workers, driven, waiting = await pool.size(), len(self._attempts), len(self._waiting)
        chosen = self._slots.choose(slots, workers=workers, driven=driven, waiting=waiting, now=self._job.clock.steady())
        if chosen is not None:
            self._give(slots=chosen)
            if chosen > slots:
                self._slots_since = self._orders.number
        self._changed.set()

    async def _agree_on_start(self, pool: Pool) -> None:
        """When all parts wait for it, start them together."""
        workers, now = await pool.size(), self._job.clock.steady()
        if not self._waiting and self._start.is_due(self._orders, self._attempts, workers=workers, now=now):
            self._give(start_at=self._job.clock.now() + START_DELAY_S)

    def _take(self, attempt: str, message: Report | Batch) -> None:
        """Take a message of a worker."""
        if isinstance(message, Batch):
            self._gathering.take(attempt, message)
        elif (part := self._attempts.take(attempt, message)) is not None:
            self._numbers.take(part.shards, message)
            self._gathering.take(attempt, message)
            if message.orders < self._orders.number or message.waits:
                self._news.set()
            self._changed.set()

    def _give(self, **changes: Any) -> None:
        """Change the orders."""
        before, self._orders = self._orders, self._orders.changed(**changes)
        if self._orders is not before:
            self._news.set()
            self._changed.set()

    def _end_if_broken(self) -> None:
        """Judge the thresholds, and end the scenario at one that is certainly broken, if the run asks for that."""
        scenario, elapsed = self._record.scenario, self.live.elapsed
        broken = self._judge.judge(self._numbers.measured(), scenario, elapsed) if self._judge else None
        if broken is None or self.broken or self.live.count(ABORTED) or not self._attempts:
            return
        self.broken = broken
        missed = arrivals.overdue if (arrivals := self.arrivals) is not None else 0
        recorder = next(iter(self._attempts.parts)).shards[0]
        self._give(abort=Abort(threshold=broken, missed=missed, recorder=recorder))


def _fatal(end: TaskEnd, part: Part) -> str | None:
    """The error that ends the run; ``None``: the part is driven again. Counts the failures of the part."""
    said = f"{end.process}: {end.error}" if end.process else end.error
    if end.ending is Ending.FAILED:
        return said
    if end.ending not in {Ending.STOPPED, Ending.HELD}:
        part.failures += 1
        if part.failures > FAILURES:
            return f"{said} (shard {', '.join(map(str, part.shards))})"
    return None
