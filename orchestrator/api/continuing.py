"""Resumes, retries or cleans up a stored run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from orchestrator.api.executing import find_vault, running, spread_over
from orchestrator.api.run import Run
from orchestrator.definition.state import C, S
from orchestrator.definition.workflow import Workflow
from orchestrator.driving.coordinator import Assignment, Coordinator
from orchestrator.driving.options import Job, Options
from orchestrator.driving.plan import Mode
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.storage.base import Store

if TYPE_CHECKING:
    from orchestrator.cluster.pool import OpenPool


@asynccontextmanager
async def resume(
    workflow: Workflow[C, S],
    run_id: str,
    *,
    store: Store,
    shards: Collection[int] | None = None,
    changes: Mapping[str, object] | None = None,
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
    changes: Mapping[str, object] | None = None,
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
    changes: Mapping[str, object] | None = None,
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
    changes: Mapping[str, object] | None,
    processes: int,
    cluster: OpenPool | None,
    options: Options | None,
    assignment: Assignment,
) -> AsyncIterator[Run[C]]:
    options = options or Options()
    stored = await StoredRun.load(workflow, run_id, store=store, vault=find_vault(options, store, create=False))
    settings = attrs.evolve(stored.settings(), **changes) if changes else stored.settings()
    job = Job(workflow=workflow, settings=settings, store=store, vault=stored.vault, options=options)
    spread = spread_over(processes, cluster, store, options)
    async with running(Coordinator(job, stored.record, assignment, engine=spread.engine() if spread else None)) as run:
        yield run
