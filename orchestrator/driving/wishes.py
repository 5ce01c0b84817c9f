"""Wishes: requests of other processes to stop or change this run, read from the store."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.options import AnyJob
from orchestrator.errors import StoreError
from orchestrator.lifecycle.run import RunRecord
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.records import Shard

WISHES_EVERY_S = 1.0
"""How often the store is asked for wishes of other processes."""


STOPPED = "stopped from the web page"


class Wishes:
    """Looks into the store for a request to stop, and for another scenario.

    Args:
        said: What was asked for is added here, in words.
    """

    def __init__(self, job: AnyJob, record: RunRecord, leases: LeaseKeeper, said: list[str]) -> None:
        self._job = job
        self._run_id = record.id
        self._scenario = record.scenario
        self._leases = leases
        self._said = said

    async def keep(self, stop: Callable[[], None], change: Callable[[Scenario], None]) -> None:
        """Look until cancelled.

        Args:
            stop: Called when one of our shards must stop.
            change: Called with the new scenario.
        """
        store = self._job.store
        while True:
            await self._job.clock.sleep(WISHES_EVERY_S)
            try:
                shards, scenario = await store.shards(self._run_id), (await store.run(self._run_id)).scenario
            except StoreError:
                continue  # the checkpoints report a store that has failed
            # A launcher has no shard of its own.
            ours = {shard.index: shard.epoch for shard in self._leases.shards}
            if any(_must_stop(shard, ours) for shard in shards if not ours or shard.index in ours):
                if STOPPED not in self._said:
                    self._said.append(STOPPED)
                stop()
            if scenario != self._scenario:
                new = scenario.changes[len(self._scenario.changes) :]
                self._said += [f"changed from the web page: {one.describe(is_open=scenario.is_open)}" for one in new]
                self._scenario = scenario
                change(scenario)


def _must_stop(shard: Shard, ours: dict[int, int]) -> bool:
    """Whether the wish is for the process that drives the shard now."""
    return shard.must_stop and ours.get(shard.index, shard.epoch) == shard.epoch
