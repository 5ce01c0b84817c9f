"""DriveContext: the objects and settings that all drivers of a run share."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Generic, Self

import anyio
import attrs

from orchestrator.clock import Clock
from orchestrator.definition.state import C, S
from orchestrator.definition.workflow import Workflow
from orchestrator.driving.admission import Admission
from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.limits import RateLimits
from orchestrator.driving.observers import Observers
from orchestrator.driving.options import Job
from orchestrator.lifecycle.decision import OnFailure, OnSuccess
from orchestrator.lifecycle.run import Recorded, RunRecord
from orchestrator.storage.base import Store
from orchestrator.storage.checkpoint import Codec
from orchestrator.storage.lease import Lease
from orchestrator.storage.records import Shard


@attrs.define(kw_only=True)
class DriveContext(Generic[C, S]):
    """Shared by the drivers of one run in one process."""

    workflow: Workflow[C, S]
    services: S
    store: Store
    codec: Codec[C]
    shard_of: Callable[[int], Shard]
    """The shard that owns an instance, as this process has claimed it."""
    lease: Lease
    limits: RateLimits
    admission: Admission
    clock: Clock
    rng: Random
    on_failure: OnFailure
    on_success: OnSuccess
    recorded: Recorded
    observers: Observers
    stopping: anyio.Event
    """When set, each driver suspends its instance before the next attempt."""

    @classmethod
    def of(
        cls,
        job: Job[C, S],
        record: RunRecord,
        leases: LeaseKeeper,
        *,
        services: S,
        codec: Codec[C],
        limits: RateLimits,
        admission: Admission,
        observers: Observers,
        stopping: anyio.Event,
    ) -> Self:
        """The context for the shards that ``leases`` holds."""
        return cls(
            workflow=job.workflow,
            services=services,
            store=job.store,
            codec=codec,
            shard_of=leases.shard_of,
            lease=leases.lease,
            limits=limits,
            admission=admission,
            clock=job.clock,
            rng=job.options.rng,
            on_failure=record.on_failure,
            on_success=record.on_success,
            recorded=record.recorded,
            observers=observers,
            stopping=stopping,
        )
