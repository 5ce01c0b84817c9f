"""The embedding API: a run as an ``async with`` block in an asyncio program."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal

import anyio
import attrs
import orjson

from orchestrator.definition.state import C, S
from orchestrator.definition.workflow import AnyWorkflow, Workflow
from orchestrator.driving.coordinator import Assignment, Coordinator
from orchestrator.driving.engine import EngineFactory
from orchestrator.driving.limits import RateGroup
from orchestrator.driving.options import Job, Options
from orchestrator.driving.plan import Mode
from orchestrator.errors import ConfigurationError, RunExistsError, ServicesError, SettingError, UnknownRunError
from orchestrator.inputs.staging import Data, Source, same_rows
from orchestrator.inspection.conflict import changed_settings
from orchestrator.inspection.result import RunResult
from orchestrator.inspection.stored_run import StoredRun, check_key
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.lifecycle.bounds import FASTEST, LEAST_RATE, RATES_SHOWN
from orchestrator.lifecycle.decision import OnFailure, OnSuccess
from orchestrator.lifecycle.events import EventStream
from orchestrator.lifecycle.ids import check_run_id, new_run_id
from orchestrator.lifecycle.instance import Instance
from orchestrator.lifecycle.rows import Rows, fitted
from orchestrator.lifecycle.run import Recorded, RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.collector import Collector
from orchestrator.load.estimate import check_groups, check_time
from orchestrator.load.live import Live
from orchestrator.load.statistics import Statistics
from orchestrator.load.tally import Tap
from orchestrator.load.thresholds import Verdict, check_span, parse_all
from orchestrator.settings import default_key_file
from orchestrator.storage.base import Store
from orchestrator.storage.checkpoint import dumps, make_converter
from orchestrator.storage.commits import ObserveCommit
from orchestrator.storage.encryption import Vault, find_key

if TYPE_CHECKING:
    from orchestrator.cluster.pool import OpenPool
    from orchestrator.cluster.spread import Spread

ROUNDS_RECORDED = 100
"""Recording every request takes some 50 kB of the store per round; a soak would fill the disk."""


class Run(Generic[C]):
    """A run that this process drives."""

    def __init__(self, coordinator: Coordinator[C, Any], *, existed: bool = False) -> None:
        self.existed = existed
        """Whether :func:`start` found this run under the id that it was given."""
        self._coordinator = coordinator

    @property
    def id(self) -> str:
        """The run's id, for ``resume`` and the command line."""
        return self._coordinator.record.id

    @property
    def command(self) -> str:
        """The arguments of ``orchestrator`` that continue the run after an error, e.g. ``resume 261123-k7m3qp``."""
        return self._coordinator.command

    async def wait(self) -> RunResult:
        """Wait until every instance has ended, or the run was stopped.

        Raises:
            StoreError: The store failed, or another process has claimed the run, which stays resumable.
            LeaseExpiredError: The lease of this process has expired.
        """
        await self._coordinator.ended.wait()
        if self._coordinator.error is not None:
            self._coordinator.raised = True
            raise self._coordinator.error
        assert self._coordinator.result is not None
        return self._coordinator.result

    def events(self) -> EventStream:
        """Stream all events from now on; the stream ends with the run. Call before the first ``await`` to miss none."""
        return self._coordinator.observers.stream()

    def stop(self) -> None:
        """Admit nothing more, let attempts in flight finish within the grace period, suspend the rest."""
        self._coordinator.stop()

    def cancel(self) -> None:
        """Suspend everything at once."""
        self._coordinator.cancel()

    @property
    def live(self) -> Live:
        """The numbers of the run now: instances, states, errors, the latest latencies."""
        return self._coordinator.engine.live

    @property
    def is_spread(self) -> bool:
        """Whether worker processes drive the run, and measure it."""
        return self._coordinator.engine.collector is None

    @property
    def is_whole(self) -> bool:
        """Whether this process alone drives and measures the run, so that :attr:`statistics` are those of the run."""
        return self._coordinator.measures_all

    @property
    def statistics(self) -> Statistics:
        """The measurements up to the last tick, over all processes that have driven the shards of this one. Do not change them.

        Raises:
            ConfigurationError: Worker processes drive the run, and measure it; :attr:`live` has their numbers.
        """
        return self._collector.statistics

    def observe_commits(self, observe: ObserveCommit) -> None:
        """Call ``observe`` after each commit of checkpoints to the store of the run, from now on."""
        self._coordinator.store.observe_commits(observe)

    def tap(self, tap: Tap) -> None:
        """Send each measurement of this process to ``tap``, too, from now on.

        Raises:
            ConfigurationError: Worker processes drive the run, and measure it.
        """
        self._collector.tap = tap

    @property
    def _collector(self) -> Collector:
        collector = self._coordinator.engine.collector
        if collector is None:
            raise ConfigurationError(f"worker processes measure run {self.id}: this process has no measurements of its own")
        return collector

    @property
    def elapsed(self) -> float:
        """Seconds of the scenario that have passed."""
        return self.live.elapsed

    @property
    def wanted(self) -> int:
        """The load that a closed scenario wants now, in running instances."""
        return self.live.wanted

    @property
    def workflow(self) -> Workflow[C, Any]:
        """The workflow of the run."""
        return self._coordinator.workflow

    @property
    def active(self) -> int:
        """Number of instances that are driven now."""
        return self.live.active

    @property
    def lease_left_s(self) -> float:
        """Seconds until the lease of this process expires, unless it is renewed."""
        return self._coordinator.lease_left_s

    @property
    def rate_groups(self) -> dict[str, RateGroup]:
        """The rate groups of this process: their rates and pauses."""
        return self._coordinator.engine.rate_groups

    @property
    def held_back(self) -> int:
        """Places of a soak that wait to be refilled, because several instances in a row failed there."""
        return self.live.held_back

    @property
    def verdicts(self) -> list[Verdict]:
        """The thresholds, judged on the numbers up to the last tick."""
        return self._coordinator.engine.verdicts()

    @property
    def arrivals(self) -> Arrivals | None:
        """Due, started and waiting instances of an open scenario; ``None`` for a closed one."""
        return self._coordinator.engine.arrivals

    @property
    def arrivals_over(self) -> bool:
        """Whether no more arrivals start; those that wait are missed."""
        ends_at = self.scenario.ends_at
        return self.aborted is not None or (ends_at is not None and self.elapsed >= ends_at)

    @property
    def aborted(self) -> str | None:
        """The broken threshold that ended the scenario, if any."""
        return self._coordinator.engine.broken

    @property
    def scenario(self) -> Scenario:
        """How instances are admitted."""
        return self._coordinator.record.scenario

    async def instance(self, number: int) -> Instance[C]:
        """Read an instance from the store."""
        return await self._coordinator.instance(number)


@asynccontextmanager
async def start(
    workflow: Workflow[C, S],
    settings: Any = None,
    *,
    store: Store,
    scenario: Scenario | None = None,
    instances: int | None = None,
    concurrency: int = 1,
    on_failure: OnFailure | Literal["rollback", "keep"] = OnFailure.ROLLBACK,
    on_success: OnSuccess | Literal["keep", "teardown"] = OnSuccess.KEEP,
    rates: Mapping[str, float] | None = None,
    thresholds: Sequence[str] = (),
    abort: bool = False,
    recorded: Recorded | Literal["failed", "all"] = Recorded.FAILED,
    reports: Mapping[str, str] | None = None,
    shards: int | None = None,
    drive: bool = True,
    run_id: str | None = None,
    processes: int = 1,
    cluster: OpenPool | None = None,
    data: Data | None = None,
    data_repeat: bool = False,
    options: Options | None = None,
) -> AsyncIterator[Run[C]]:
    """Start a run. Leaving the block waits for it; leaving the block with an exception suspends it.

    With ``run_id`` a start is idempotent: if the store has a run with this id, no other one is started. An unfinished run is
    resumed, a finished one is returned with its result and drives nothing; ``Run.existed`` tells. So a caller that does not know
    whether an earlier start succeeded repeats it with the same arguments. Renewed credentials are used, as ``changes`` of
    :func:`resume`.

    Args:
        settings: An instance of ``workflow.settings``.
        scenario: How instances are admitted; ``None``: ``instances`` of them, ``concurrency`` at once.
        instances: Number of instances; ``None``: one, or one for each row of ``data``.
        on_failure: Whether an instance that fails is rolled back or kept.
        on_success: Whether a completed instance is kept or torn down.
        rates: Rate group → attempts per second; a group without an entry is unlimited. ``None``: the workflow's rates.
        thresholds: Limits that the run must keep (see :mod:`orchestrator.load.thresholds`).
        abort: Whether a threshold that is certainly broken ends the scenario (see :mod:`orchestrator.load.abort`).
        recorded: Which requests are stored, masked and sealed: the last ones of failed instances, or all of every instance.
        reports: Form (``report``, ``csv``, ``junit``) → path. Stored with the run for the command line, which writes them when
            ``orchestrator resume`` or ``retry`` ends; this function writes no report.
        shards: Number of shards of the run; one process drives each. ``None``: one, or as many as ``processes`` need.
        drive: ``False``: only store the run; then ``resume(…, shards=[…])`` drives each shard, in any process.
        run_id: An id of the caller's choice: at most 48 characters of a-z and 0-9, with single hyphens between them, and no hyphen
            before a number at its end. Names of objects derive from it, so it must be unique in the tenant, not only in this store.
            ``None``: a fresh one.
        processes: Worker processes that drive the run on this machine. They find the workflow by its entry point or its module, and
            the key in ``ORCHESTRATOR_KEY`` or the key file. The program must guard its start with ``if __name__ == "__main__":``.
        cluster: Worker processes of a cluster, instead (see :func:`orchestrator.dask_cluster`).
        data: Rows for the instances, in order: a CSV or JSONL file, or mappings (``Workflow.row`` names the columns). They are
            stored, encrypted, before the run, so a resume needs no file. A scenario that does not say how many instances there are
            ends with the last row.
        data_repeat: Whether instances after the last row begin again with the first.

    Raises:
        ServicesError: The workflow's services could not be opened; nothing was stored.
        RunConflictError: There is a run with this id and other arguments.
        LeaseHeldError: There is a run with this id, and another process, or another task of this one, drives it.
        SettingError, EncryptionKeyError, StoreError: See these classes.
    """
    if run_id is not None:
        check_run_id(run_id)
    options = options or Options()
    scenario = scenario or Scenario(instances=instances, concurrency=concurrency)
    limits = dict(workflow.rates(settings) if rates is None else rates)
    check(workflow, scenario, limits, thresholds, Recorded(recorded))
    spread = _spread(processes, cluster, store, options) if drive else None
    vault = _vault(options, store, create=True)
    new_id = run_id or new_run_id(options.clock.now())
    if data is None and data_repeat:
        raise SettingError("data-repeat", "repeats the rows of data, and there are none; give data")
    source = None if data is None else Source(workflow=workflow, data=data, run_id=new_id, vault=vault)
    job = Job(workflow=workflow, settings=settings, store=store, vault=vault, options=options)
    engine = spread.engine() if spread else None

    choices = {
        "on_failure": OnFailure(on_failure),
        "on_success": OnSuccess(on_success),
        "rates": limits,
        "thresholds": tuple(thresholds),
        "abort": abort,
        "recorded": Recorded(recorded),
        "reports": dict(reports or {}),
    }

    def record(rows: Rows | None) -> RunRecord:
        suited = scenario if rows is None else fitted(scenario, rows.count, repeat=data_repeat)
        check(workflow, suited, limits, thresholds, Recorded(recorded))
        return _new_record(job, new_id, suited, rows, choices)

    if run_id is not None and await _is_stored(store, run_id):
        wanted = record(None if source is None else await source.measured(repeat=data_repeat))
    else:
        opened = False
        rows = None if source is None else await source.staged(store, repeat=data_repeat)
        try:
            wanted = record(rows)
            parts = shards or (1 if spread is None else await spread.shards(wanted.scenario))
            check_shards(wanted.scenario, parts)
            assignment = Assignment(mode=Mode.START, shards=parts, drives=drive)
            async with _running(Coordinator(job, wanted, assignment, engine=engine)) as run:
                opened = True
                yield run
            return
        except (RunExistsError, ServicesError):
            # Another process may have stored the run meanwhile; it may also use the services that exist once for a run.
            if opened or run_id is None or not await _is_stored(store, run_id):
                raise
        finally:
            if rows is not None and not opened:
                with anyio.CancelScope(shield=True):
                    await store.discard_rows(rows.key)
    async with _existing(job, wanted, engine, drive=drive) as run:
        yield run


def _new_record(job: Job[Any, Any], run_id: str, scenario: Scenario, rows: Rows | None, choices: Mapping[str, Any]) -> RunRecord:
    """The record of a run that starts now; ``choices`` are fields that the caller chose."""
    now = job.clock.now()
    sealed = orjson.loads(dumps(make_converter().unstructure(job.settings), job.vault, run_id.encode()))
    return RunRecord(
        id=run_id,
        workflow=job.workflow.name,
        version=job.workflow.version,
        definition=job.workflow.definition,
        status=RunStatus.RUNNING,
        scenario=scenario,
        settings={"workflow": sealed},
        rows=rows,
        key_id=job.vault.key_id,
        created_at=now,
        updated_at=now,
        **choices,
    )


async def _is_stored(store: Store, run_id: str) -> bool:
    try:
        await store.run(run_id)
    except UnknownRunError:
        return False
    return True


@asynccontextmanager
async def _existing(job: Job[C, S], wanted: RunRecord, engine: EngineFactory | None, *, drive: bool) -> AsyncIterator[Run[C]]:
    """The run with the id of ``wanted``, which was started before: resumed, unless it is finished."""
    record = await job.store.run(wanted.id)
    check_key(record, job.vault)
    stored = job.stored(record)
    rows, given = record.rows, wanted.rows
    same = rows is None or given is None or same_rows(rows, given, record.id, job.vault)
    changes = changed_settings(stored, wanted, job.settings, same_rows=same)
    settings = attrs.evolve(stored.settings(), **changes) if changes else stored.settings()
    drives = drive and record.status is not RunStatus.FINISHED
    assignment = Assignment(mode=Mode.RESUME, drives=drives)
    async with _running(
        Coordinator(attrs.evolve(job, settings=settings), record, assignment, engine=engine), existed=True
    ) as run:
        yield run


@asynccontextmanager
async def resume(
    workflow: Workflow[C, S],
    run_id: str,
    *,
    store: Store,
    shards: Collection[int] | None = None,
    changes: Mapping[str, Any] | None = None,
    processes: int = 1,
    cluster: OpenPool | None = None,
    options: Options | None = None,
) -> AsyncIterator[Run[C]]:
    """Resume an interrupted run; the block behaves like that of :func:`start`. An interrupted clean-up, rollback or retry is continued.

    Args:
        shards: The shards to drive; ``None``: every one that no other process drives.
        changes: Settings that replace stored ones, e.g. renewed credentials.
        processes: Worker processes on this machine, as in :func:`start`; any number drives any number of shards.
        cluster: Worker processes of a cluster, as in :func:`start`.

    Raises:
        LeaseHeldError: Another process is driving it.
        WorkflowChangedError: Its unfinished instances no longer fit the definition.
        EncryptionKeyError: It was sealed with another key.
        UnknownRunError, StoreError, ServicesError: See these classes.
    """
    async with _again(
        workflow, run_id, store, changes, processes, cluster, options, Assignment(mode=Mode.RESUME, only=shards)
    ) as run:
        yield run


@asynccontextmanager
async def retry(
    workflow: Workflow[C, S],
    run_id: str,
    *,
    store: Store,
    number: int | None = None,
    changes: Mapping[str, Any] | None = None,
    processes: int = 1,
    cluster: OpenPool | None = None,
    options: Options | None = None,
) -> AsyncIterator[Run[C]]:
    """Continue the failed instances of a finished run from the state that failed; raises the errors of :func:`resume`.

    All of them are reset first, so an interrupted retry can be resumed. The retry is not measured as part of the scenario,
    whose time limit does not apply.

    Args:
        number: The only instance to retry; ``None``: every instance that failed and was kept.

    Raises:
        ConfigurationError: The run is not finished, or that instance has not failed.
    """
    async with _again(
        workflow, run_id, store, changes, processes, cluster, options, Assignment(mode=Mode.RETRY, number=number)
    ) as run:
        yield run


@asynccontextmanager
async def cleanup(
    workflow: Workflow[C, S],
    run_id: str,
    *,
    store: Store,
    number: int | None = None,
    changes: Mapping[str, Any] | None = None,
    processes: int = 1,
    cluster: OpenPool | None = None,
    options: Options | None = None,
) -> AsyncIterator[Run[C]]:
    """Remove all effects of a run's instances, whichever status these have; raises the errors of :func:`resume`.

    Instances that were not admitted are never started, and the run is finished afterwards.

    Args:
        number: The only instance to roll back, of a finished run; ``None``: every instance.

    Raises:
        ConfigurationError: A number is given, and the run is not finished, or the instance has nothing to undo.
    """
    mode = Mode.CLEAN_UP if number is None else Mode.ROLL_BACK
    async with _again(workflow, run_id, store, changes, processes, cluster, options, Assignment(mode=mode, number=number)) as run:
        yield run


@asynccontextmanager
async def _again(
    workflow: Workflow[C, S],
    run_id: str,
    store: Store,
    changes: Mapping[str, Any] | None,
    processes: int,
    cluster: OpenPool | None,
    options: Options | None,
    assignment: Assignment,
) -> AsyncIterator[Run[C]]:
    options = options or Options()
    stored = await StoredRun.load(workflow, run_id, store=store, vault=_vault(options, store, create=False))
    settings = attrs.evolve(stored.settings(), **changes) if changes else stored.settings()
    job = Job(workflow=workflow, settings=settings, store=store, vault=stored.vault, options=options)
    spread = _spread(processes, cluster, store, options)
    async with _running(Coordinator(job, stored.record, assignment, engine=spread.engine() if spread else None)) as run:
        yield run


def _spread(processes: int, cluster: OpenPool | None, store: Store, options: Options) -> Spread | None:
    """The worker processes of a run; ``None``: this process drives it."""
    if processes == 1 and cluster is None:
        return None
    from orchestrator.cluster.spread import Spread  # noqa: PLC0415  # most runs have one process

    return Spread(processes=processes, cluster=cluster, store=store, options=options)


def check(
    workflow: AnyWorkflow,
    scenario: Scenario,
    rates: Mapping[str, float],
    thresholds: Sequence[str],
    recorded: Recorded = Recorded.FAILED,
) -> None:
    """Reject invalid arguments before anything else; :func:`start` calls it first. Raises ``SettingError``."""
    if recorded is Recorded.ALL and not 1 <= scenario.rounds <= ROUNDS_RECORDED:
        raise SettingError(
            "record", f"all requests can be stored for at most {ROUNDS_RECORDED} rounds per instance; give fewer rounds"
        )
    if workflow.round_start is None and (scenario.rounds != 1 or scenario.reuse is not None):
        name = "rounds" if scenario.rounds != 1 else "reuse"
        raise SettingError(name, f"the workflow {workflow.name!r} has no rounds")
    for group, rate in rates.items():
        if not LEAST_RATE <= rate <= FASTEST:
            raise SettingError(
                "rates", f"{group}={rate:g} is not between {RATES_SHOWN} a second; leave the group out for no limit"
            )
    check_span(parse_all(thresholds, workflow), scenario)
    check_groups(workflow, rates)
    check_time(workflow, scenario, rates)


def check_shards(scenario: Scenario, shards: int) -> None:
    """Reject more shards than can have work: each needs a place and an instance. Raises ``SettingError``."""
    places = min(scenario.cap, scenario.cap if scenario.total is None else scenario.total)
    if shards < 1:
        raise SettingError("shards", f"{shards} is less than 1")
    if shards > places:
        raise SettingError("shards", f"{shards} is more than {places}, the number of concurrent instances")


def _vault(options: Options, store: Store, *, create: bool) -> Vault:
    if options.vault is not None:
        return options.vault
    if store.key is not None:
        return Vault(store.key, store.where)
    return find_key(os.environ, default_key_file(), create=create)


@asynccontextmanager
async def _running(coordinator: Coordinator[C, Any], *, existed: bool = False) -> AsyncIterator[Run[C]]:
    body_error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(coordinator.execute, name=f"run {coordinator.record.id}")
        await coordinator.ready.wait()
        if coordinator.error is None:
            try:
                yield Run(coordinator, existed=existed)
                await coordinator.ended.wait()
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001  # raised itself, not in the task group's ExceptionGroup
                body_error = error
                coordinator.cancel()
    if body_error is not None:
        raise body_error
    if coordinator.error is not None and not coordinator.raised:
        raise coordinator.error
