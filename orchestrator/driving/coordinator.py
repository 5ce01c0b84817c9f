"""The coordinator of a run: creates or claims it, opens the services, starts the engine, and ends the run.

* The coordinator owns every task.
* A new run is stored after its services have opened (wrong credentials leave nothing behind). An existing run is claimed
  before its services open (two processes never use the same sandbox or tenant for one shard).
* The first error stops the run, which stays resumable. It is raised itself, not in an ExceptionGroup.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Generic

import anyio
import attrs

from orchestrator.definition.state import C, S
from orchestrator.definition.workflow import Workflow
from orchestrator.driving.engine import Engine, EngineFactory
from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.observers import Observers
from orchestrator.driving.options import Job
from orchestrator.driving.orders import Follower
from orchestrator.driving.plan import Mode, plan_for
from orchestrator.driving.preconditions import check_definition, check_quotas_of, check_reset
from orchestrator.driving.reuse import ReusedInstances
from orchestrator.driving.services import open_services
from orchestrator.driving.shard import ShardDriver
from orchestrator.driving.wishes import Wishes
from orchestrator.errors import (
    CheckpointError,
    LeaseExpiredError,
    StoreError,
)
from orchestrator.inspection.result import RunResult, result_of
from orchestrator.lifecycle.instance import Instance
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.base import Store

END_LIMIT_S = 20.0
"""Time limit for storing the status of an ending run and releasing its lease."""


@attrs.frozen(kw_only=True)
class Assignment:
    """The task of this process in a run."""

    mode: Mode
    shards: int = 1
    """Number of shards of a new run."""
    drives: bool = True
    """``False``: only store a new run, for other processes to drive; or only read one that was stored before."""
    only: Collection[int] | None = None
    """The shards to drive; ``None``: every free one."""
    number: int | None = None
    """The only instance to retry or roll back; ``None``: every failed one is retried."""
    places: int | None = None
    """Instances to drive at once; ``None``: the share of the scenario that belongs to the shards."""
    elapsed: float = 0.0
    """Seconds of the scenario that have passed in the run, if the shards have seen less: for shards that waited while others were
    driven."""


class Coordinator(Generic[C, S]):
    """Starts, resumes, retries or cleans up one run, or rolls back one instance of it. Users see it through :mod:`orchestrator.api`.

    Args:
        engine: Drives the claimed shards; ``None``: this process does.
        follower: The link to the launcher of the run, if this process drives for one.
    """

    def __init__(
        self,
        job: Job[C, S],
        record: RunRecord,
        assignment: Assignment,
        *,
        engine: EngineFactory | None = None,
        follower: Follower | None = None,
    ) -> None:
        self.record = record
        self.ready = anyio.Event()
        self.ended = anyio.Event()
        self.result: RunResult | None = None
        self.error: Exception | None = None
        """The error that stopped the run."""
        self.requests: list[str] = []
        """Requests of other processes while this process drives, in words."""
        self.raised = False
        """Whether the error was raised to a waiting caller."""
        self.observers = Observers(job.options.all_observers)
        self._job = job
        self._assignment = assignment
        self._leases = LeaseKeeper(job.store, record.id, job.options.lease_s, job.clock)
        self._plan = plan_for(assignment.mode, record.status)
        self._stopping = anyio.Event()
        self._scope = anyio.CancelScope()
        self._follower = follower
        self._make_engine = engine or partial(
            ShardDriver[C, S], follower=follower, places=assignment.places, elapsed=assignment.elapsed
        )
        self._engine: Engine | None = None
        """Set when driving begins."""

    @property
    def engine(self) -> Engine:
        """Available once ``ready`` is set without an error."""
        assert self._engine is not None
        return self._engine

    @property
    def workflow(self) -> Workflow[C, S]:
        """The workflow of the run."""
        return self._job.workflow

    @property
    def store(self) -> Store:
        """The store of the run."""
        return self._job.store

    @property
    def shards(self) -> int:
        """Number of shards of the run."""
        return self._leases.of

    @property
    def measures_all(self) -> bool:
        """Whether the measurements of this process are those of the whole run."""
        has_all = bool(self._leases.shards) and self._leases.share.is_all
        return has_all and self._plan.measures and self._engine is not None and self._engine.collector is not None

    @property
    def command(self) -> str:
        """The command that continues the run after an error."""
        number = self._assignment.number
        if self._plan.resets and not self._has_reset:
            return f"{self._plan.mode.command} {self.record.id}" + ("" if number is None else f"-{number}")
        return f"{'cleanup' if self._plan.cleans_up else 'resume'} {self.record.id}"

    def stop(self) -> None:
        """Admit nothing more; let attempts in flight finish within the grace period."""
        self._stopping.set()
        if self._engine is not None:
            self._engine.close()

    def cancel(self) -> None:
        """Stop now."""
        self.stop()
        self._scope.cancel()

    async def instance(self, number: int) -> Instance[C]:
        """Read an instance from the store. Raises ``LookupError``."""
        found = await self._job.stored(self.record).instance(number)
        if found is None:
            raise LookupError(f"instance {number} of run {self.record.id} has not been admitted")
        return found

    async def execute(self) -> None:
        """Run from the claim to the release; errors are kept for the waiting caller."""
        try:
            await self._open()
        except Exception as error:  # noqa: BLE001  # raised to the waiting caller
            self._fail(error)
        finally:
            self.observers.close()
            self.ready.set()
            self.ended.set()

    async def _open(self) -> None:
        """Close the services while the lease is still renewed, then release the run."""
        # No AsyncExitStack: with a task group in it, an inner block that answers a cancellation with its own (as aiohttp's
        # session does) makes an exception its own context, and anyio follows contexts forever.
        try:
            if self._assignment.mode is not Mode.START:
                if not self._assignment.drives:
                    await self._read()
                    return
                await self._claim()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._leases.keep, self._fail, name=f"lease of {self.record.id}")
                try:
                    await self._with_services()
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            await self._end()

    async def _read(self) -> None:
        """Read the measurements of a run without claiming it; the result is read at the end."""
        engine = ShardDriver(self._job, self.record, self._plan, self._leases, None, None)
        await engine.open(self.observers)
        self._engine = engine

    async def _with_services(self) -> None:
        store, workflow = self._job.store, self._job.workflow
        if self._assignment.mode is not Mode.START and self._follower is None:  # the launcher has checked it
            await check_definition(self._job, self.record, self._plan)
        alone = self._assignment.drives and (self._assignment.mode is Mode.START or self._leases.holds_rest)
        async with open_services(self._job, self.record, self._leases.lease, alone=alone) as (settings, services):
            reuse = self.record.scenario.reuse
            reused = ReusedInstances(self._job, reuse) if reuse is not None else None
            if self._assignment.mode is Mode.START:
                await check_quotas_of(self._job, self.record, services)
                if reused is not None:
                    await reused.load()
                await self._leases.create(
                    self.record, workflow.fingerprints, self._assignment.shards, claim=self._assignment.drives
                )
            else:
                await self._note_resumption()
            if self._assignment.drives:
                await self._drive(services, settings, reused)
            else:
                self.result = await result_of(store, self.record)

    async def _claim(self) -> None:
        whole = self._assignment.only is None and self._plan.mode in {Mode.RETRY, Mode.ROLL_BACK, Mode.CLEAN_UP}
        await self._leases.claim(self._assignment.only, all_of_them=whole)
        # Read after the claim: the previous process may have finished the run just before.
        self.record = await self._job.store.run(self.record.id)
        self._plan = plan_for(self._assignment.mode, self.record.status)
        await check_reset(self._job, self.record, self._plan, self._assignment.number)

    async def _note_resumption(self) -> None:
        await self._job.store.add_fingerprints(self._job.workflow.definition, self._job.workflow.fingerprints)
        if self._plan.resets:
            return  # stored when the instances are reset: a command that crashes before changes nothing
        if self._plan.meanwhile is not RunStatus.RUNNING or self.record.status is not RunStatus.FINISHED:
            await self._job.store.set_run_status(self._leases.shards[0], self._plan.meanwhile)

    async def _drive(self, services: S, settings: object, reused: ReusedInstances[C] | None) -> None:
        engine: Engine = self._make_engine(self._job, self.record, self._plan, self._leases, reused, self._assignment.number)
        await engine.open(self.observers)
        self._engine = engine
        if self._stopping.is_set():
            engine.close()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_grace, name=f"grace of {self.record.id}")
            tasks.start_soon(engine.keep, self._fail, name=f"statistics of {self.record.id}")
            wishes = Wishes(self._job, self.record, self._leases, self.requests)
            tasks.start_soon(wishes.keep, self.stop, self._change, name=f"wishes for {self.record.id}")
            if self._follower is not None:
                tasks.start_soon(self._follow, self._follower, engine, name=f"orders of {self.record.id}")
            self.ready.set()
            with self._scope:
                await engine.drive(services, settings, self._stopping, self._fail, self.observers)
            if engine.unreadable:
                more = f" (and {len(engine.unreadable) - 1} more like it)" if len(engine.unreadable) > 1 else ""
                self._fail(CheckpointError(f"{engine.unreadable[0]}{more}; all other instances were driven"))
            tasks.cancel_scope.cancel()

    def _change(self, scenario: Scenario) -> None:
        """Go on by another scenario."""
        self.record = attrs.evolve(self.record, scenario=scenario)
        self.engine.change(scenario)

    async def _follow(self, follower: Follower, engine: Engine) -> None:
        """Obey the launcher."""
        while True:
            if follower.orders.stop:
                self.stop()
            if follower.orders.cancel:
                self.cancel()
                self._job.store.give_up()
            engine.obey(follower.orders)
            await follower.changed()

    async def _end_grace(self) -> None:
        await self._stopping.wait()
        await self._job.clock.sleep(self._job.options.grace_s)
        self._scope.cancel()

    async def _end(self) -> None:
        """Store the status of the run and release it, even after a cancellation."""
        if not self._leases.shards and self._engine is None:
            return
        with anyio.move_on_after(END_LIMIT_S, shield=True) as limit:
            try:
                await self._release()
            except (StoreError, LeaseExpiredError) as error:
                self._fail(error)
        if limit.cancelled_caught:
            problem = f"the status of run {self.record.id} could not be stored within {END_LIMIT_S:g} s; resume the run"
            self._fail(StoreError(problem))

    async def _release(self) -> None:
        if self._engine is None:
            self._leases.lease.check()
            await self._leases.give_up()
            return
        if self._leases.shards:
            self._leases.lease.check()
            await self._engine.save()
            done = [] if self.error is not None else await self._engine.done()
            part_done = len(done) == len(self._leases.shards)
            status = await self._leases.release(done, self._meanwhile)
            found = await result_of(self._job.store, attrs.evolve(self.record, status=status))
            found = attrs.evolve(found, status=status, part_done=part_done)
        else:  # a launcher, whose workers have claimed all shards
            found = await result_of(self._job.store, await self._job.store.run(self.record.id))
        self.result = attrs.evolve(found, observer_failures=tuple(map(str, self.observers.failures)))

    @property
    def _meanwhile(self) -> RunStatus:
        """Status of the run during this mode; unchanged until all that is reset has been reset."""
        return self._plan.meanwhile if self._has_reset else self.record.status

    @property
    def _has_reset(self) -> bool:
        return self._engine is not None and self._engine.has_reset

    def _fail(self, error: Exception) -> None:
        """Keep the first error and stop: running instances are suspended."""
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if self.error is None:
            self.error = error
        self.cancel()
