"""Opens the services of a run."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from orchestrator.definition.state import C, S
from orchestrator.definition.workflow import ServiceContext
from orchestrator.driving.options import Job
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.lease import Lease


def open_services(job: Job[C, S], record: RunRecord, lease: Lease, *, alone: bool) -> AbstractAsyncContextManager[S]:
    """The services that all instances of this process share.

    Args:
        alone: Whether no other process drives a part of the run.
    """
    # A run that reuses the instances of another one finds their effects under that run's id.
    owner, vault = record.scenario.reuse or record.id, job.vault
    place = f"{owner} services".encode()
    return job.workflow.open_services(
        job.settings,
        ServiceContext(
            run_id=owner,
            check_lease=lease.check,
            directory=job.options.directory,
            seal=lambda data: vault.seal(data, place),
            unseal=lambda data: vault.open(data, place),
            concurrency=record.scenario.cap,
            clock=job.clock,
            alone=alone,
        ),
    )
