"""Gathers readings for metrics, events and log records from the workers of a run, in the launcher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio

from orchestrator.cluster.pool import TaskEnd
from orchestrator.cluster.readings import RunReadings
from orchestrator.cluster.relay import Batch, Receiver
from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.limits import RateGroup
from orchestrator.driving.observers import Observers
from orchestrator.driving.options import AnyJob
from orchestrator.driving.orders import Observed, Report
from orchestrator.driving.readings import Meter
from orchestrator.errors import StoreError


class Gathering:
    """Gathers the data for observers and exporters of the launcher."""

    def __init__(self, job: AnyJob, run_id: str, leases: LeaseKeeper) -> None:
        self._job, self._run_id, self._leases = job, run_id, leases
        self._readings: RunReadings | None = None
        """For metrics, if they are exported."""
        self._relay = Receiver(Observers())

    def meter(self) -> Meter:
        """See :class:`~orchestrator.driving.engine.Engine`."""
        self._readings = RunReadings(self._job.clock, lambda: self._leases.lease.left_s if self._leases.shards else None)
        return self._readings

    @property
    def rate_groups(self) -> dict[str, RateGroup]:
        """Those of all workers, if metrics are exported."""
        return {} if self._readings is None else dict(self._readings().rate_groups)

    @property
    def observed(self) -> Observed:
        """The events that are wanted now."""
        return self._relay.observed

    @asynccontextmanager
    async def driving(self, observers: Observers) -> AsyncIterator[None]:
        """Workers drive while the block lasts; then the counts are put right by the store, which a killed worker knew better."""
        self._relay = Receiver(observers)
        before, alone = await self._job.store.counts(self._run_id), self._leases.holds_rest
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True), suppress(StoreError):
                await self._leases.take_back()
                if self._readings is not None and alone:
                    self._readings.settle(before, await self._job.store.counts(self._run_id))

    def take(self, attempt: str, message: Report | Batch) -> None:
        """A worker has sent this."""
        if isinstance(message, Batch):
            self._relay.take(attempt, message)
        elif self._readings is not None and message.readings is not None:
            self._readings.take(attempt, message.readings)

    async def wait_for(self, attempt: str, end: TaskEnd) -> None:
        """Wait for the messages of a task that has ended."""
        await self._relay.wait_for(attempt, end.batches)

    def end(self, attempt: str) -> None:
        """The attempt has ended."""
        if self._readings is not None:
            self._readings.end(attempt)
