"""Opens the services of a run, with the lease check and the encryption of the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.definition.state import C, S
from orchestrator.definition.workflow import ServiceContext
from orchestrator.driving.options import Job
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.lease import Lease


@asynccontextmanager
async def open_services(job: Job[C, S], record: RunRecord, lease: Lease, *, alone: bool) -> AsyncIterator[tuple[Any, S]]:
    """The settings that all processes of the run share, and the services that all instances of this process share.

    Args:
        alone: Whether no other process has a part of the run to drive.
    """
    # A run that reuses the instances of another one finds their effects under that run's id.
    owner, vault = record.scenario.reuse or record.id, job.vault
    place = f"{owner} services".encode()
    context = ServiceContext(
        run_id=owner,
        check_lease=lease.check,
        directory=job.options.directory,
        seal=lambda data: vault.seal(data, place),
        unseal=lambda data: vault.open(data, place),
        concurrency=record.scenario.cap,
        clock=job.clock,
        alone=alone,
        tracer=job.options.tracer,
    )
    workflow = job.workflow
    async with workflow.open_shared(job.settings, context) as settings, workflow.open_services(settings, context) as services:
        yield settings, services
