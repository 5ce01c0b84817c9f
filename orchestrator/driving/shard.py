"""The shard driver: drives the instances of the shards that this process has claimed.

A worker drives one instance at a time. There are as many workers as places, so memory and tasks grow with the concurrency, not
with the number of instances. Unfinished instances of an earlier process come first, then new ones of the scenario.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Generic

import anyio
import attrs

from orchestrator.definition.state import C, S
from orchestrator.driving.admission import Admission
from orchestrator.driving.drive_context import DriveContext
from orchestrator.driving.driver import Begin, Driver
from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.limits import RateGroup, RateLimits
from orchestrator.driving.measuring import StatisticsKeeper
from orchestrator.driving.neighbours import Neighbours
from orchestrator.driving.numbers import Numbers
from orchestrator.driving.observers import Observers
from orchestrator.driving.options import Job
from orchestrator.driving.orders import Follower, Orders
from orchestrator.driving.plan import Mode, Plan
from orchestrator.driving.readings import Meter
from orchestrator.driving.reuse import ReusedInstances
from orchestrator.driving.staff import Staff
from orchestrator.errors import CheckpointError
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.lifecycle.bounds import UNBOUNDED
from orchestrator.lifecycle.instance import RESUMABLE, AnyInstance, Instance, Status
from orchestrator.lifecycle.moves import admit
from orchestrator.lifecycle.run import RunRecord
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.collector import Collector
from orchestrator.load.live import Live
from orchestrator.load.series import HELD_BACK, REPLACED
from orchestrator.load.thresholds import Verdict

_Begin = Callable[[], tuple[Driver[Any, Any], Begin]]
"""Creates the driver of an instance."""


class ShardDriver(Generic[C, S]):
    """The engine of this process: drives the shards that it has claimed. See :class:`~orchestrator.driving.engine.Engine`."""

    def __init__(
        self,
        job: Job[C, S],
        record: RunRecord,
        plan: Plan,
        leases: LeaseKeeper,
        reused: ReusedInstances[C] | None,
        number: int | None,
        *,
        follower: Follower | None = None,
        places: int | None = None,
        elapsed: float = 0.0,
    ) -> None:
        self.unreadable: list[CheckpointError] = []
        self.has_reset = not plan.resets
        before = max(leases.elapsed, elapsed)
        self._admission = Admission(record.scenario, job.clock, before, share=leases.share, cuts=plan.measures, places=places)
        self._limits = RateLimits(record.rates, job.clock)
        self._statistics = StatisticsKeeper(job, record, plan, leases, self._admission, self._limits, follower)
        self._neighbours = Neighbours(job, leases, self._limits, follower.orders.slots if follower else None)
        self._follower = follower
        self._job = job
        self._record = record
        self._plan = plan
        self._leases = leases
        self._reused = reused
        self._number = number
        self._reader = job.stored(record).reader()
        self._rows = job.rows_of(record)
        self._walked = False
        self._begun = anyio.Event()
        self._staff: Staff | None = None
        """The workers, while they work."""

    @property
    def live(self) -> Live:
        return self._statistics.live

    @property
    def collector(self) -> Collector | None:
        return self._statistics.collector

    @property
    def rate_groups(self) -> dict[str, RateGroup]:
        return self._limits.groups

    @property
    def arrivals(self) -> Arrivals | None:
        return self._statistics.arrivals

    @property
    def broken(self) -> str | None:
        return self._statistics.broken

    def meter(self) -> Meter:
        return self._statistics.meter()

    def verdicts(self) -> list[Verdict]:
        return self._statistics.verdicts()

    def close(self) -> None:
        self._admission.close()

    def change(self, scenario: Scenario) -> None:
        self._record = attrs.evolve(self._record, scenario=scenario)
        self._admission.change(scenario)
        if self._staff is not None:
            self._staff.fill(self._admission.places)

    def obey(self, orders: Orders) -> None:
        self._neighbours.set_slots(orders.slots)
        if orders.abort is not None:
            self._statistics.abort(orders.abort)

    async def open(self, observers: Observers) -> None:
        await self._statistics.open()
        observers.collector = self._statistics.collector

    async def keep(self, fail: Callable[[Exception], None]) -> None:
        await self._begun.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._statistics.keep, fail, name=f"ticks of {self._record.id}")
            if not self._leases.holds_rest:
                tasks.start_soon(self._neighbours.keep, name=f"neighbours of {self._record.id}")

    async def save(self) -> None:
        await self._statistics.save()

    async def drive(
        self, services: S, settings: object, stopping: anyio.Event, fail: Callable[[Exception], None], observers: Observers
    ) -> None:
        drive = self._context(services, stopping, observers)
        if self._plan.mode is not Mode.START:
            for group, until in (await self._job.store.pauses(self._record.id)).items():
                drive.limits.slow_down(group, until - self._job.clock.now(), known=True)
        left, numbers = _Queue(self._left(drive)), await self._numbers()
        if self._follower is not None:
            await self._follower.wait_for_start(self._job.clock, stopping, self.live)
        self._admission.begin()
        self._begun.set()
        if not self.has_reset:
            await self._reset(drive)
        async with anyio.create_task_group() as tasks:
            self._staff = Staff(tasks, partial(self._worker, drive, left, numbers, fail), f"{self._record.id} worker")
            self._staff.fill(self._admission.places)
            await self._staff.gone.wait()
            self._staff = None
        if not stopping.is_set():
            self._admission.end()

    async def done(self) -> list[int]:
        if not (self._walked and self.has_reset):
            return []
        found = []
        for shard in self._leases.shards:
            if await self._job.store.load(self._record.id, RESUMABLE, limit=1, shard=shard):
                continue
            # After a clean-up, a rollback or a retry, or at the end of the scenario, no further instance is admitted.
            over = not self._plan.measures or not self._plan.admits or self._admission.is_over
            if over or (self._record.total < UNBOUNDED and not await self._job.store.unadmitted(shard, self._record.total)):
                found.append(shard.index)
        return found

    def _context(self, services: S, stopping: anyio.Event, observers: Observers) -> DriveContext[C, S]:
        return DriveContext.of(
            self._job,
            self._record,
            self._leases,
            services=services,
            codec=self._reader.codec,
            limits=self._limits,
            admission=self._admission,
            observers=observers,
            stopping=stopping,
        )

    async def _worker(
        self, drive: DriveContext[C, S], left: _Queue, numbers: Numbers, fail: Callable[[Exception], None], index: int
    ) -> None:
        try:
            before: Instance[C] | None = None
            refills = True
            while not drive.stopping.is_set() and (begin := await left.next()) is not None:
                driver, how = begin()
                self._admission.take_place()
                before, free = await self._drive_in_place(driver, how)
                refills = refills and free
            if refills and self._plan.admits:
                await self._admit_all(drive, index, numbers, before)
        except Exception as error:  # noqa: BLE001  # raised by the coordinator
            fail(error)

    async def _admit_all(self, drive: DriveContext[C, S], index: int, numbers: Numbers, before: Instance[C] | None) -> None:
        """Drive instance after instance in one place, while the scenario wants it filled."""
        admission, counters = self._admission, self._statistics.collector.counters
        fruitless, refills = 0, True
        while refills:
            fruitless = fruitless + 1 if before is not None and _was_fruitless(before) else 0
            held_s = await admission.hold_back(index, fruitless)
            if not await admission.place():
                return
            number = numbers.next(self._record.total)
            late_s = None if number is None else await admission.turn(number)
            if number is None or late_s is None:
                admission.give_back(None)
                if number is not None:
                    continue
                admission.complete()
                return
            if before is not None and before.status is not Status.COMPLETED and self._record.scenario.replaces:
                counters[REPLACED] += 1
                counters[HELD_BACK] += held_s > 0
            before, refills = await self._drive_in_place(await self._admit(drive, number, late_s), Begin.START)

    async def _drive_in_place(self, driver: Driver[C, S], how: Begin) -> tuple[Instance[C], bool]:
        """Drive an instance. Returns it as it ended, and whether its place should be filled again."""
        ended = await driver.drive(how)
        return ended, self._admission.give_back(ended.number)

    async def _left(self, drive: DriveContext[C, S]) -> AsyncIterator[_Begin]:
        """Yield the stored instances to drive before new ones are admitted, in order."""
        how = Begin.ROLL_BACK if self._plan.cleans_up else Begin.RESUME
        for shard in self._leases.shards if self._plan.drives else ():
            found = self._reader.instances(self._plan.drives, self.unreadable.append, shard=shard)
            async for instance in found:
                if not self._plan.cleans_up or instance.trail or instance.leftovers or instance.status in RESUMABLE:
                    yield partial(_driver, drive, instance, how)
        self._walked = True

    async def reset(self, services: S, observers: Observers) -> None:
        """Reset the ended instances that the plan resets, for other processes to drive."""
        await self._reset(self._context(services, anyio.Event(), observers))

    async def _reset(self, drive: DriveContext[C, S]) -> None:
        """Atomic, together with the status of the run: after a crash either all are reset and `resume` continues, or none are and
        the command can be repeated."""
        begin = Begin.ROLL_BACK if self._plan.mode is Mode.ROLL_BACK else Begin.RESUME
        saves = [Driver(drive, instance).reset(begin) async for instance in self._to_reset()]
        await self._job.store.save_all(self._leases.shards[0], saves, self._plan.meanwhile)
        self.has_reset = True
        for save in saves:
            drive.observers.publish(save.events)

    async def _to_reset(self) -> AsyncIterator[Instance[C]]:
        if self._number is None:
            async for instance in self._reader.instances({Status.FAILED}, self.unreadable.append):
                yield instance
        elif (found := await self._job.stored(self._record).instance(self._number)) is not None:
            yield found

    async def _numbers(self) -> Numbers:
        """Numbers of our instances that were not admitted yet, in order."""
        share, total = self._leases.share, self._record.total
        if not self._plan.admits:
            return Numbers(())
        if self._plan.mode is Mode.START and share.is_all:
            return Numbers((), share)
        gaps = [await self._job.store.unadmitted(shard, total) for shard in self._leases.shards]
        left = sum(len(gap) for one in gaps for gap in one)
        self._admission.started = share.part(total) - left
        return Numbers(heapq.merge(*(itertools.chain.from_iterable(one) for one in gaps)), share, share.part(total))

    async def _admit(self, drive: DriveContext[C, S], number: int, late_s: float) -> Driver[C, S]:
        self._admission.started += 1
        now, again = self._job.clock.now(), self._reused is not None
        context, due = await self._first_context(number), self._admission.elapsed - late_s
        instance = admit(self._job.workflow, self._record.id, number, context, now, due=due, again=again)
        return Driver(drive, instance, late_s=late_s)

    async def _first_context(self, number: int) -> C:
        if self._reused is not None:
            return await self._reused.context(number)
        row = None if self._rows is None else await self._rows.row(number)
        return self._job.workflow.first_context(self._record.id, number, self._job.settings, row)


def _driver(drive: DriveContext[C, S], instance: Instance[C], how: Begin) -> tuple[Driver[C, S], Begin]:
    return Driver(drive, instance), how


def _was_fruitless(instance: AnyInstance) -> bool:
    """Whether it ended without success before finishing a round."""
    return not instance.rounds and instance.status is not Status.COMPLETED


class _Queue:
    """An async iterator shared by many workers."""

    def __init__(self, items: AsyncIterator[_Begin]) -> None:
        self._items = items
        self._lock = anyio.Lock()

    async def next(self) -> _Begin | None:
        async with self._lock:
            return await anext(self._items, None)
