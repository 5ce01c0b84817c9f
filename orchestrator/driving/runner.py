"""The runner: claims a run, admits its instances, drives them, drains, suspends.

Rules of this file:

* The runner owns every task. A worker drives one instance at a time; there are as many as the concurrency, so
  memory and tasks grow with that and not with the number of instances.
* A run is stored after its services have opened (wrong credentials leave nothing behind), and an existing one is
  claimed before they are (two processes never talk to the same sandbox or tenant for one run).
* The first error stops the run, which stays resumable; what ends the block is that error, not a group of them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Generic

import anyio
import attrs

from orchestrator.clock import Clock, SystemClock
from orchestrator.definition.state import C, S
from orchestrator.definition.workflow import ServiceContext, Workflow
from orchestrator.driving.admission import Admission
from orchestrator.driving.drive_context import DriveContext
from orchestrator.driving.driver import Begin, Driver
from orchestrator.driving.limits import RateLimits
from orchestrator.errors import (
    CheckpointError,
    ConfigurationError,
    DefinitionError,
    EncryptionKeyError,
    LeaseExpiredError,
    ServicesError,
    StaleEpochError,
    StepError,
    StoreError,
    StoreLostError,
    UnknownRunError,
    WorkflowChangedError,
)
from orchestrator.inspection.reading import PAGE, Reader, RunResult, load_instance, result_of, usable_instances
from orchestrator.lifecycle.events import EventStream, Observer
from orchestrator.lifecycle.instance import RESUMABLE, Instance, Status, admit
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import UNBOUNDED, Arrivals
from orchestrator.load.abort import ends_scenario
from orchestrator.load.collector import ABORTED, HELD_BACK, MISSED, REPLACED, Collector
from orchestrator.load.estimate import check_quotas
from orchestrator.load.statistics import Statistics
from orchestrator.load.thresholds import Measured, Verdict, parse_all
from orchestrator.storage.base import Shard, Store
from orchestrator.storage.checkpoint import stored_definition
from orchestrator.storage.encryption import Vault
from orchestrator.storage.lease import Lease, this_process

UNDOABLE = frozenset(Status) - {Status.ROLLED_BACK}
"""Statuses of instances that may have left something."""
SAMPLES = 4
"""How often, between two ticks of the statistics, the instances under way are counted."""
END_LIMIT_S = 20.0
"""How long an ending run may take to store its status and give up its lease."""


@attrs.frozen(kw_only=True)
class Options:
    """How a process drives a run; none of it is part of the run."""

    lease_s: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    """How long the run stays ours without renewal; renewed three times as often."""
    grace_s: float = 10.0
    """How long attempts in flight may take after a request to stop."""
    directory: Path | None = None
    """Where services may keep files of their own (the embedded sandbox its state); ``None``: nowhere."""
    vault: Vault | None = None
    """Encrypts secrets; ``None``: the key from ``ORCHESTRATOR_KEY`` or the user's key file."""
    observers: Sequence[Observer] = ()
    clock: Clock = attrs.field(factory=SystemClock)
    rng: random.Random = attrs.field(factory=random.Random)
    """Source of the jitter."""


_Begin = Callable[[], tuple[Driver[Any, Any], Begin]]
"""Makes the driver of an instance."""


class Mode(Enum):
    """What a runner is to do with its run."""

    START = "start"
    RESUME = "resume"
    RETRY = "retry"
    """Have failed instances of a finished run go on."""
    CLEAN_UP = "clean up"


_LATER = {RunStatus.CLEANING_UP: Mode.CLEAN_UP, RunStatus.RETRYING: Mode.RETRY}
"""What the user has wanted of a run after its scenario: whoever takes it up goes on with that."""


class Runner(Generic[C, S]):
    """Does one thing with one run: starts, resumes or cleans it up; :mod:`orchestrator.api` is what users see of it."""

    def __init__(
        self,
        workflow: Workflow[C, S],
        record: RunRecord,
        settings: Any,
        store: Store,
        vault: Vault,
        options: Options,
        mode: Mode,
        retried: int | None = None,
    ) -> None:
        self.record = record
        self.ready = anyio.Event()
        self.ended = anyio.Event()
        self.result: RunResult | None = None
        self.error: Exception | None = None
        """Why the run stopped, if it failed as a whole."""
        self.told = False
        """Whether somebody who waited has been given the error."""
        self._workflow = workflow
        self._settings = settings
        self._store = store
        self._vault = vault
        self._options = options
        self._clock = options.clock
        self._mode = mode
        self._retried = retried
        """The failed instance that is to go on; ``None``: all of them."""
        self._puts_back = mode is Mode.RETRY
        """Whether failed instances are still to be put back. Resuming a retry continues those that were."""
        self._reader = Reader(workflow, store, vault)
        self._lease = Lease(record.id, options.lease_s, options.clock)
        self._stopping = anyio.Event()
        self._scope = anyio.CancelScope()
        self._observers: list[Observer] = []
        self._attempt_observers: list[Observer] = []
        for observer in options.observers:
            self._observe(observer)
        self._streams: list[EventStream] = []
        self._unreadable: list[CheckpointError] = []
        self._owned = False
        """Whether the run is in the store and claimed by us."""
        total = record.scenario.total
        self._shard = Shard(run_id=record.id)
        self._total = UNBOUNDED if total is None else total
        self._admission = Admission(record.scenario, options.clock)

        self._prepared = False
        self._walked = False
        """Whether every instance that was left by the last process was given to a driver."""
        self._started = 0
        """Instances that were started, by all processes."""
        self._used: list[int] = []
        """Instances of the run that this one uses again."""
        self.collector: Collector
        """There once ``ready`` is set without an error."""
        self.aborted: str | None = None
        """The broken threshold that ended the scenario."""
        self._thresholds = parse_all(record.thresholds, workflow)
        self._unsaved: dict[int, bytes] = {}
        self._outdated: set[int] = set()

    def stop(self) -> None:
        self._stopping.set()
        self._admission.close()

    def cancel(self) -> None:
        self.stop()
        self._scope.cancel()

    def stream(self) -> EventStream:
        stream = EventStream()
        self._observe(stream)
        self._streams.append(stream)
        if self.ended.is_set():
            stream.close()
        return stream

    def _observe(self, observer: Observer) -> None:
        self._observers.append(observer)
        if not getattr(observer, "stored_only", False):
            self._attempt_observers.append(observer)

    async def instance(self, number: int) -> Instance[C]:
        found = await load_instance(self._workflow, self._store, self._vault, self.record.id, number)
        if found is None:
            raise LookupError(f"instance {number} of run {self.record.id} has not been admitted")
        return found

    @property
    def elapsed(self) -> float:
        return self._admission.elapsed

    @property
    def wanted(self) -> int:
        return self._admission.wanted

    @property
    def held_back(self) -> int:
        return self._admission.held

    @property
    def command(self) -> str:
        """What goes on with the run after an error, for the command line."""
        if self._puts_back:
            return f"retry {self.record.id}" + ("" if self._retried is None else f"-{self._retried}")
        return f"{'cleanup' if self._mode is Mode.CLEAN_UP else 'resume'} {self.record.id}"

    async def execute(self) -> None:
        """Everything, from the claim to the release; errors are kept for whoever waits."""
        try:
            await self._open()
        except Exception as error:  # noqa: BLE001  # kept for whoever waits
            self._fail(error)
        finally:
            for stream in self._streams:
                stream.close()
            self.ready.set()
            self.ended.set()

    async def _open(self) -> None:
        """The services close while the lease is still renewed, then the run is released."""
        # No AsyncExitStack: a task group in it, with a block inside that answers a cancellation with one of its own (aiohttp's
        # session does), makes an exception that is its own context, and anyio follows contexts for ever.
        try:
            if self._mode is not Mode.START:
                await self._claim()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._renew, name=f"lease of {self.record.id}")
                try:
                    await self._with_services()
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            await self._release()

    async def _with_services(self) -> None:
        if self._mode is not Mode.START:
            await self._check_definition()
        async with self._services() as services:
            if self._mode is Mode.START:
                await self._check_quotas(services)
                await self._find_used()
                await self._create()
            else:
                await self._note_resumption()
            await self._driving(services)

    def _services(self) -> Any:
        # A run that uses the instances of another one finds what they made in the same place.
        place = f"{self.record.scenario.reuse or self.record.id} services".encode()
        return self._workflow.open_services(
            self._settings,
            ServiceContext(
                run_id=self.record.scenario.reuse or self.record.id,
                check_lease=self._lease.check,
                directory=self._options.directory,
                seal=lambda data: self._vault.seal(data, place),
                unseal=lambda data: self._vault.open(data, place),
                concurrency=self.record.scenario.cap,
                clock=self._clock,
            ),
        )

    async def _find_used(self) -> None:
        use = self.record.scenario.reuse
        if use is not None and not self._used:
            self._used = await usable_instances(self._workflow, self._store, self._vault, use)

    async def _check_quotas(self, services: S) -> None:
        if self._workflow.quotas is None:
            return
        try:
            rooms = await self._workflow.quotas(services)
        except StepError as error:
            raise ServicesError(f"it cannot be told whether there is room for the run: {error}") from error
        check_quotas(rooms, self.record.scenario, self.record.on_success)

    async def _create(self) -> None:
        asked = self._lease.asked()
        (self._shard,) = await self._store.create_run(
            self.record, self._workflow.fingerprints, claim={0}, owner=this_process(), lease_s=self._options.lease_s
        )
        self._lease.confirmed(asked)
        self._owned = True

    async def _claim(self) -> None:
        asked = self._lease.asked()
        self._shard = await self._store.claim(self.record.id, 0, this_process(), self._options.lease_s)
        self._lease.confirmed(asked)
        self._owned = True
        # Only now nobody else changes it: whoever had the run until a moment ago may have finished it.
        self.record = await self._store.run(self.record.id)
        if self._mode is Mode.RESUME:
            self._mode = _LATER.get(self.record.status, Mode.RESUME)
        elif self._mode is Mode.RETRY:
            await self._check_retry()

    async def _check_retry(self) -> None:
        run_id, status = self.record.id, self.record.status
        if status not in {RunStatus.FINISHED, RunStatus.RETRYING}:
            do = "cleanup" if status is RunStatus.CLEANING_UP else "resume"
            raise ConfigurationError(f"run {run_id} is not finished, so nothing of it can be retried yet: {do} it first")
        if self._retried is None:
            return
        found = await self._store.load(run_id, after=self._retried - 1, limit=1)
        if not found or found[0].number != self._retried:
            raise UnknownRunError(f"instance {run_id}-{self._retried}", self._store.where)
        if found[0].status is not Status.FAILED:
            stands = found[0].status.value
            raise ConfigurationError(
                f"instance {run_id}-{self._retried} is {stands}; one that has failed and was kept can be retried"
            )

    async def _note_resumption(self) -> None:
        await self._store.add_fingerprints(self._workflow.definition, self._workflow.fingerprints)
        if self._puts_back:
            return  # stored with what is put back: a retry that dies before has changed nothing
        status = self._status_meanwhile
        if status is not RunStatus.RUNNING or self.record.status is not RunStatus.FINISHED:
            await self._store.set_run_status(self._shard, status)

    @property
    def _status_meanwhile(self) -> RunStatus:
        return {Mode.CLEAN_UP: RunStatus.CLEANING_UP, Mode.RETRY: RunStatus.RETRYING}.get(self._mode, RunStatus.RUNNING)

    @property
    def _in_scenario(self) -> bool:
        """Whether what is done is part of the scenario. What a clean-up and a retry take is not measured as such."""
        return self._status_meanwhile is RunStatus.RUNNING

    async def _release(self) -> None:
        """Store where the run stands and give it up; also when we were cancelled."""
        if not self._owned:
            return
        with anyio.move_on_after(END_LIMIT_S, shield=True) as limit:
            try:
                self._lease.check()
                if self._prepared:
                    await self._store_statistics()
                self.result = await self._sum_up()
                done = {0} if self.result.status is RunStatus.FINISHED else ()
                await self._store.release([self._shard], done, self._status_meanwhile if self._prepared else None)
            except (StoreError, LeaseExpiredError) as error:
                self._fail(error)
        if limit.cancelled_caught:
            self._fail(
                StoreError(f"where run {self.record.id} stands could not be stored within {END_LIMIT_S:g} s; it is resumable")
            )

    async def _sum_up(self) -> RunResult:
        if self._in_scenario:
            return await result_of(self._store, self.record, everything_admitted=self._admission.is_over)
        if self._puts_back:
            return attrs.evolve(await result_of(self._store, self.record), status=self.record.status)
        # What was not admitted stays so: the run is finished when everything was looked at, and nothing is on its way.
        result = await result_of(self._store, attrs.evolve(self.record, status=RunStatus.FINISHED))
        if result.interrupted or self.error is not None or not self._walked:
            return attrs.evolve(result, status=self._status_meanwhile)
        return result

    async def _driving(self, services: S) -> None:
        await self._prepare()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_grace, name=f"grace of {self.record.id}")
            tasks.start_soon(self._keep_statistics, name=f"statistics of {self.record.id}")
            self.ready.set()
            with self._scope:
                await self._drive_all(services)
            if self._unreadable:
                more = f" (and {len(self._unreadable) - 1} more like it)" if len(self._unreadable) > 1 else ""
                self._fail(CheckpointError(f"{self._unreadable[0]}{more}; all other instances were driven"))
            tasks.cancel_scope.cancel()

    async def _renew(self) -> None:
        # A store that cannot be reached is asked again until the lease has run out; the drivers stop themselves then.
        while True:
            await self._clock.sleep(self._options.lease_s / 3)
            if not self._owned:
                continue
            asked = self._lease.asked()
            try:
                self._shard = await self._store.renew(self._shard, self._options.lease_s)
                self._lease.confirmed(asked)
            except (StaleEpochError, StoreLostError) as error:
                self._fail(error)
            except StoreError:
                try:
                    self._lease.check()
                except LeaseExpiredError as error:
                    self._fail(error)

    async def _prepare(self) -> None:
        """What driving needs to know of the past: the instances to use again, what was measured, the time spent."""
        scenario = self.record.scenario
        earlier = await self._store.statistics(self.record.id) if self._mode is not Mode.START else []
        before = Statistics.of(earlier)
        self.collector = Collector(
            self._workflow,
            self._clock,
            elapsed=lambda: self._admission.elapsed,
            active=lambda: self._admission.active,
            wanted=lambda: self.wanted,
            rounds=scenario.rounds != 1,
            warm_up=scenario.warm_up,
            length=scenario.length,
            aborted=lambda: self._admission.aborted,
            arrivals=scenario.is_open,
            earlier=earlier if self._in_scenario else (),
        )
        self._admission = Admission(scenario, self._clock, before.elapsed, cuts=self._in_scenario)
        if before.total.counters[ABORTED]:
            self._admission.abort()
        self._observers.insert(0, self.collector)
        self._prepared = True

    async def _keep_statistics(self) -> None:
        while True:
            # The end of the warm-up lies on a tick; in between, only how many are under way is noted.
            wait = self.collector.next_tick / SAMPLES
            for _ in range(SAMPLES):
                await self._clock.sleep(wait)
                self.collector.sample()
            try:
                await self._store_statistics()
                self._judge()
            except (StaleEpochError, StoreLostError) as error:
                self._fail(error)
            except StoreError:
                pass  # they are kept for the next time; a store that has failed is told of by the checkpoints

    async def _store_statistics(self) -> None:
        rows, gone = self.collector.tick()
        if not self._in_scenario:
            return
        self._unsaved |= rows
        self._outdated |= set(gone)
        await self._store.save_statistics(self._shard, self._unsaved, self._outdated)
        self._unsaved, self._outdated = {}, set()

    def _judge(self) -> None:
        """End the scenario at a threshold that is broken beyond doubt, if that is wanted."""
        scenario = self.record.scenario
        in_time = scenario.length is None or self.elapsed < scenario.length
        if not self._in_scenario or not self.record.abort or self.aborted or not in_time:
            return
        measured = self._measured()
        broken = next((one for one in self._thresholds if ends_scenario(one, measured, scenario)), None)
        if broken is not None:
            self.aborted = f"{broken.text} (it is {broken.judge(measured).value})"
            if (arrivals := self.arrivals) is not None:
                self.collector.counters[MISSED] += arrivals.overdue
            self.collector.counters[ABORTED] += 1
            self._admission.abort()

    @property
    def arrivals(self) -> Arrivals | None:
        """The arrivals of an open scenario so far; those that an aborted one had no turn for stay as they were then."""
        if not self.record.scenario.is_open or not self._in_scenario:
            return None
        found = self.record.scenario.arrivals(self._admission.elapsed, self._started)
        if not self.collector.counters[ABORTED]:
            return found
        missed = self.collector.counters[MISSED]
        return attrs.evolve(found, due=self._started + missed, overdue=missed, expected_missed=missed)

    def verdicts(self) -> list[Verdict]:
        """How the thresholds stand, as of the last tick."""
        measured = self._measured()
        return [threshold.judge(measured) for threshold in self._thresholds]

    def _measured(self) -> Measured:
        """What was measured so far. Instances are counted from the start, as they will be in the end; the warm-up is no exception."""
        counters = self.collector.counters
        counts = {status: counters[f"ended.{status.value}"] for status in Status}
        counts[Status.RUNNING] = max(0, counters["started"] - sum(counts.values()))
        measured = Measured(statistics=self.collector.statistics, counts=counts)
        if (arrivals := self.arrivals) is None:
            return measured
        overdue, expected = arrivals.overdue, arrivals.expected_missed
        return attrs.evolve(measured, missed=overdue, overdue=overdue, due=arrivals.due, expected_missed=expected)

    async def _end_grace(self) -> None:
        await self._stopping.wait()
        await self._clock.sleep(self._options.grace_s)
        self._scope.cancel()

    async def _drive_all(self, services: S) -> None:
        drive = DriveContext(
            workflow=self._workflow,
            services=services,
            store=self._store,
            codec=self._reader.codec,
            shard=self._shard,
            lease=self._lease,
            limits=RateLimits(self.record.rates, self._clock),
            admission=self._admission,
            clock=self._clock,
            rng=self._options.rng,
            on_failure=self.record.on_failure,
            on_success=self.record.on_success,
            recorded=self.record.recorded,
            observers=self._observers,
            attempt_observers=self._attempt_observers,
            stopping=self._stopping,
        )
        if self._mode is not Mode.START:
            for group, until in (await self._store.pauses(self.record.id)).items():
                drive.limits.slow_down(group, until - self._clock.now())
        left, numbers = _Queue(self._left(drive)), iter(await self._numbers())
        self._admission.begin()
        if self._puts_back:
            await self._put_back(drive)
        async with anyio.create_task_group() as workers:
            for index in range(min(self.record.scenario.cap, self._total)):
                workers.start_soon(self._worker, drive, index, left, numbers, name=f"{self.record.id} worker {index}")
        if not self._stopping.is_set():
            self._admission.end()

    async def _worker(self, drive: DriveContext[C, S], index: int, left: _Queue, numbers: Iterator[int]) -> None:
        """First what was under way when the last process ended, then what the scenario still wants."""
        try:
            before: Instance[C] | None = None
            refills = True
            while not self._stopping.is_set() and (begin := await left.next()) is not None:
                driver, how = begin()
                self._admission.take_place()
                before, free = await self._drive_in_place(driver, how)
                refills = refills and free
            fruitless = 0
            while refills and not self._admits_nothing:
                fruitless = fruitless + 1 if before is not None and _was_fruitless(before) else 0
                held_s = await self._admission.hold_back(index, fruitless)
                if not await self._admission.place():
                    return
                number = next(numbers, None)
                late_s = None if number is None else await self._admission.turn(number)
                if number is None or late_s is None:
                    self._admission.give_back(None)
                    if number is not None:
                        continue
                    self._admission.complete()
                    return
                if before is not None and before.status is not Status.COMPLETED and self.record.scenario.replaces:
                    self.collector.counters[REPLACED] += 1
                    self.collector.counters[HELD_BACK] += held_s > 0
                before, refills = await self._drive_in_place(await self._admit(drive, number, late_s), Begin.START)
        except Exception as error:  # noqa: BLE001  # kept for whoever waits
            self._fail(error)

    async def _drive_in_place(self, driver: Driver[C, S], how: Begin) -> tuple[Instance[C], bool]:
        """The instance as it ended, and whether its place is to be filled again."""
        ended = await driver.drive(how)
        return ended, self._admission.give_back(ended.number)

    async def _left(self, drive: DriveContext[C, S]) -> AsyncIterator[_Begin]:
        """What there is to do before anything new is admitted, in order."""
        if self._mode is Mode.CLEAN_UP:
            async for instance in self._reader.instances(self.record.id, UNDOABLE, self._unreadable.append):
                if instance.trail or instance.leftovers or instance.status in RESUMABLE:
                    yield partial(self._clean_up, drive, instance)
        elif self._mode is Mode.RETRY or (self._mode is Mode.RESUME and self.record.status is not RunStatus.FINISHED):
            async for instance in self._reader.instances(self.record.id, RESUMABLE, self._unreadable.append):
                yield partial(self._take_up, drive, instance)
        self._walked = True

    async def _put_back(self, drive: DriveContext[C, S]) -> None:
        """Atomic, with the status of the run: after a crash either all are put back and `resume` continues, or none and `retry` repeats."""
        failed = self._reader.instances(self.record.id, {Status.FAILED}, self._unreadable.append)
        saves = [Driver(drive, instance).put_back() async for instance in failed if self._retried in (None, instance.number)]
        await self._store.save_all(self._shard, saves, RunStatus.RETRYING)
        self._puts_back = False
        for event in (event for save in saves for event in save.events):
            for observer in self._observers:
                observer(event)

    @property
    def _admits_nothing(self) -> bool:
        """What a clean-up found not admitted stays so."""
        return not self._in_scenario or self.record.status is RunStatus.FINISHED

    async def _numbers(self) -> Iterable[int]:
        """The instances that were not admitted yet."""
        if self._admits_nothing:
            return ()
        if self._mode is Mode.START:
            return range(self._total)
        left = await self._store.unadmitted(self._shard, self._total)
        self._started = self._total - sum(map(len, left))
        return itertools.chain.from_iterable(left)

    async def _admit(self, drive: DriveContext[C, S], number: int, late_s: float) -> Driver[C, S]:
        self._started += 1
        now = self._clock.now()
        context = await self._first_context(number)
        again = self.record.scenario.reuse is not None
        instance = admit(self._workflow, self.record.id, number, context, now, due=self._admission.elapsed - late_s, again=again)
        return Driver(drive, instance, late_s=late_s)

    async def _first_context(self, number: int) -> C:
        use = self.record.scenario.reuse
        if use is None:
            context = self._workflow.initial_context(self.record.id, number, self._settings)
            if type(context) is not self._workflow.context:
                wanted, made = self._workflow.context.__name__, type(context).__name__
                raise DefinitionError(self._workflow.name, f"begins with a {made}, not with a {wanted}")
            return context
        await self._find_used()
        used = self._used[number % len(self._used)]
        found = await load_instance(self._workflow, self._store, self._vault, use, used)
        assert found is not None
        return found.context

    def _take_up(self, drive: DriveContext[C, S], instance: Instance[C]) -> tuple[Driver[C, S], Begin]:
        return Driver(drive, instance), Begin.RESUME

    def _clean_up(self, drive: DriveContext[C, S], instance: Instance[C]) -> tuple[Driver[C, S], Begin]:
        return Driver(drive, instance), Begin.ROLL_BACK

    async def _check_definition(self) -> None:
        """Refuse before anything is sent, naming every instance that cannot go on."""
        touched: list[str] = []
        changes: tuple[str, ...] = ()
        wanted = {Mode.RESUME: RESUMABLE, Mode.RETRY: {*RESUMABLE, Status.FAILED}}.get(self._mode, UNDOABLE)
        last = -1
        while rows := await self._store.load(self.record.id, wanted, after=last, limit=PAGE):
            for row in rows:
                if stored_definition(row) == self._workflow.definition:
                    continue
                try:
                    await self._reader.decode(row)
                except (CheckpointError, EncryptionKeyError):
                    continue  # told at the end: one that cannot be read does not hold up the rest
                except WorkflowChangedError as error:
                    touched += error.touched
                    changes = tuple(dict.fromkeys((*changes, *error.changes)))
            last = rows[-1].number
        if touched:
            raise WorkflowChangedError(self.record.id, self._workflow.name, touched, changes)

    def _fail(self, error: Exception) -> None:
        """Remember the first error and stop: what is under way is suspended as it stands."""
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if self.error is None:
            self.error = error
        self.cancel()


def _was_fruitless(instance: Instance[Any]) -> bool:
    """Whether it failed before it had finished a round."""
    return not instance.rounds and instance.status is not Status.COMPLETED


class _Queue:
    """An async iterator that many workers take from."""

    def __init__(self, items: AsyncIterator[_Begin]) -> None:
        self._items = items
        self._lock = anyio.Lock()

    async def next(self) -> _Begin | None:
        async with self._lock:
            return await anext(self._items, None)
