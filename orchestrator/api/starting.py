"""Starts a run; with an id of the caller's choice, a second start finds the run of the first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypedDict

import anyio
import attrs
import orjson

from orchestrator.api.checks import check, check_shards
from orchestrator.api.executing import find_vault, running, spread_over
from orchestrator.api.run import Run
from orchestrator.definition.state import C, S
from orchestrator.definition.workflow import Workflow
from orchestrator.driving.coordinator import Assignment, Coordinator
from orchestrator.driving.engine import EngineFactory
from orchestrator.driving.options import Job, Options
from orchestrator.driving.plan import Mode
from orchestrator.errors import RunExistsError, ServicesError, SettingError, UnknownRunError
from orchestrator.inputs.staging import Data, Source, same_rows
from orchestrator.inspection.conflict import changed_settings
from orchestrator.inspection.stored_run import check_key
from orchestrator.lifecycle.decision import OnFailure, OnSuccess
from orchestrator.lifecycle.ids import check_run_id, new_run_id
from orchestrator.lifecycle.rows import Rows, fitted
from orchestrator.lifecycle.run import Recorded, RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.base import Store
from orchestrator.storage.checkpoint import dumps, make_converter

if TYPE_CHECKING:
    from orchestrator.cluster.pool import OpenPool


@asynccontextmanager
async def start(
    workflow: Workflow[C, S],
    settings: object = None,
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
    spread = spread_over(processes, cluster, store, options) if drive else None
    vault = find_vault(options, store, create=True)
    new_id = run_id or new_run_id(options.clock.now())
    if data is None and data_repeat:
        raise SettingError("data-repeat", "repeats the rows of data, and there are none; give data")
    source = None if data is None else Source(workflow=workflow, data=data, run_id=new_id, vault=vault)
    job = Job(workflow=workflow, settings=settings, store=store, vault=vault, options=options)
    engine = spread.engine() if spread else None

    choices = _Choices(
        on_failure=OnFailure(on_failure),
        on_success=OnSuccess(on_success),
        rates=limits,
        thresholds=tuple(thresholds),
        abort=abort,
        recorded=Recorded(recorded),
        reports=dict(reports or {}),
    )

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
            async with running(Coordinator(job, wanted, assignment, engine=engine)) as run:
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


class _Choices(TypedDict):
    """The fields of a run that its caller chooses."""

    on_failure: OnFailure
    on_success: OnSuccess
    rates: Mapping[str, float]
    thresholds: tuple[str, ...]
    abort: bool
    recorded: Recorded
    reports: Mapping[str, str]


def _new_record(job: Job[C, S], run_id: str, scenario: Scenario, rows: Rows | None, choices: _Choices) -> RunRecord:
    """The record of a run that starts now."""
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
    async with running(Coordinator(attrs.evolve(job, settings=settings), record, assignment, engine=engine), existed=True) as run:
        yield run
