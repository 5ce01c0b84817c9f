"""Checks before a run is driven: the tenant's quota, instances to retry or roll back, checkpoints that fit the definition."""

from __future__ import annotations

from orchestrator.definition.state import C, S
from orchestrator.driving.options import Job
from orchestrator.driving.plan import Mode, Plan
from orchestrator.errors import (
    CheckpointError,
    ConfigurationError,
    EncryptionKeyError,
    ServicesError,
    StepError,
    UnknownRunError,
    WorkflowChangedError,
)
from orchestrator.inspection.reader import PAGE
from orchestrator.lifecycle.effects import why_nothing_to_undo
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.load.estimate import check_quotas
from orchestrator.storage.checkpoint import stored_definition


async def check_quotas_of(job: Job[C, S], record: RunRecord, services: S) -> None:
    """Refuse a scenario that exceeds the tenant's quota. Raises ``ServicesError`` if the quota cannot be read."""
    if job.workflow.quotas is None:
        return
    try:
        quotas = await job.workflow.quotas(services)
    except StepError as error:
        raise ServicesError(f"the tenant's quotas cannot be read: {error}") from error
    check_quotas(quotas, record.scenario, record.on_success)


async def check_reset(job: Job[C, S], record: RunRecord, plan: Plan, number: int | None) -> None:
    """If the plan resets instances, refuse those of an unfinished run, and one that has no reason for it.

    Raises:
        ConfigurationError, UnknownRunError: Not now, or no such instance.
    """
    if plan.resets and plan.mode is Mode.RETRY:
        await _check_retry(job, record, number)
    elif plan.resets and number is not None:
        await _check_rollback(job, record, number)


async def _check_retry(job: Job[C, S], record: RunRecord, number: int | None) -> None:
    """Refuse to retry an unfinished run, or an instance that was not kept after a failure."""
    run_id, status = record.id, record.status
    if status not in {RunStatus.FINISHED, RunStatus.RETRYING}:
        do = "cleanup" if status is RunStatus.CLEANING_UP else "resume"
        raise ConfigurationError(f"run {run_id} is not finished; {do} it before a retry")
    if number is None:
        return
    found = await job.store.load(run_id, after=number - 1, limit=1)
    if not found or found[0].number != number:
        raise UnknownRunError(f"instance {run_id}-{number}", job.store.where)
    if found[0].status is not Status.FAILED:
        raise ConfigurationError(
            f"instance {run_id}-{number} is {found[0].status.value}; only an instance that failed and was kept can be retried"
        )


async def _check_rollback(job: Job[C, S], record: RunRecord, number: int) -> None:
    """Refuse to roll back one instance of an unfinished run, or one that has nothing to undo."""
    run_id, status = record.id, record.status
    if status is not RunStatus.FINISHED:
        do = "cleanup" if status is RunStatus.CLEANING_UP else "resume"
        raise ConfigurationError(f"run {run_id} is not finished; {do} it before a rollback of one instance")
    instance = await job.stored(record).instance(number)
    if instance is None:
        raise UnknownRunError(f"instance {run_id}-{number}", job.store.where)
    if why := why_nothing_to_undo(job.workflow, instance):
        raise ConfigurationError(f"instance {instance.id} {why}")


async def check_definition(job: Job[C, S], record: RunRecord, plan: Plan) -> None:
    """Refuse before the first request, naming every instance that cannot continue."""
    reader = job.stored(record).reader()
    touched: list[str] = []
    changes: tuple[str, ...] = ()
    last = -1
    while rows := await job.store.load(record.id, plan.touches, after=last, limit=PAGE):
        for row in rows:
            if stored_definition(row) == job.workflow.definition:
                continue
            try:
                await reader.decode(row)
            except (CheckpointError, EncryptionKeyError):
                continue  # reported at the end: an unreadable instance does not block the others
            except WorkflowChangedError as error:
                touched += error.touched
                changes = tuple(dict.fromkeys((*changes, *error.changes)))
        last = rows[-1].number
    if touched:
        raise WorkflowChangedError(record.id, job.workflow.name, touched, changes)
