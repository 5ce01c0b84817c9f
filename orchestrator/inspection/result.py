"""The status of a run, and its instances by status. Needs no key."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from orchestrator.lifecycle.instance import RESUMABLE, Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.storage.base import Store


@attrs.frozen(kw_only=True)
class RunResult:
    """The status of a run when its driver stops."""

    run_id: str
    status: RunStatus
    counts: Mapping[Status, int]
    """Instances by status; those not started yet are ``PENDING``."""
    part_done: bool = False
    """Whether this process has finished its shards; the run may go on in other processes."""
    observer_failures: tuple[str, ...] = ()
    """For each observer that raised an exception: which one, on which event, and the exception. It was switched off."""

    @property
    def interrupted(self) -> bool:
        """Whether the run is unfinished."""
        return self.status is not RunStatus.FINISHED

    def of(self, *statuses: Status) -> int:
        """How many instances have one of these statuses."""
        return sum(self.counts.get(status, 0) for status in statuses)

    @property
    def total(self) -> int:
        """Number of instances."""
        return sum(self.counts.values())


async def result_of(store: Store, record: RunRecord, *, everything_admitted: bool = False) -> RunResult:
    """The status of a run, from its stored instances and its record; see :func:`result_from`."""
    return result_from(record, await store.counts(record.id), everything_admitted=everything_admitted)


def result_from(record: RunRecord, places: Mapping[tuple[Status, str], int], *, everything_admitted: bool = False) -> RunResult:
    """The status of a run, from the number of its instances by status and position.

    Args:
        everything_admitted: The scenario starts no more instances, although the record is not finished.
    """
    counts: dict[Status, int] = {}
    for (status, _), number in places.items():
        counts[status] = counts.get(status, 0) + number
    unfinished = any(counts.get(status) for status in RESUMABLE)
    total = record.scenario.total
    if total is not None and (pending := total - sum(counts.values())) > 0:
        counts[Status.PENDING] = pending
    admitted = everything_admitted or record.status is RunStatus.FINISHED or (total is not None and Status.PENDING not in counts)
    if record.status in {RunStatus.CLEANING_UP, RunStatus.RETRYING, RunStatus.ROLLING_BACK}:
        stands: RunStatus = record.status
    else:
        stands = RunStatus.INTERRUPTED if unfinished or not admitted else RunStatus.FINISHED
    return RunResult(run_id=record.id, status=stands, counts=counts)
