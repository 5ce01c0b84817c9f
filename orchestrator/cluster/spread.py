"""Chooses the worker processes of a run: processes of this machine, or workers of a cluster."""

from __future__ import annotations

import multiprocessing.process
from functools import partial
from importlib.util import find_spec

import attrs

from orchestrator.cluster.pool import OpenPool, PoolPlan
from orchestrator.cluster.schedule import shards_for
from orchestrator.driving.engine import EngineFactory
from orchestrator.driving.options import Options
from orchestrator.errors import SettingError
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.base import Store

MOST_PROCESSES = 512
GUARD = (
    'a program that starts them must guard its own start with `if __name__ == "__main__":`, because each of them imports the '
    "program's file"
)
"""The cure when a worker process cannot start."""


@attrs.frozen(kw_only=True)
class Spread:
    """The processes that drive a run.

    Raises:
        SettingError: That is not possible here.
    """

    processes: int
    """Worker processes of this machine."""
    cluster: OpenPool | None = None
    """Worker processes of a cluster, instead."""
    store: Store
    options: Options

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.processes <= MOST_PROCESSES:
            raise SettingError("processes", f"{self.processes} is not between 1 and {MOST_PROCESSES}")
        name = "processes" if self.cluster is None else "cluster"
        if getattr(multiprocessing.process.current_process(), "_inheriting", False):
            raise SettingError(name, f"a worker process would start worker processes: {GUARD}")
        if self.store.url is None:
            raise SettingError(name, "a store in memory belongs to one process; name a file as store")
        if self.options.tracer is not None:
            raise SettingError(name, "a tracer sees the requests of its own process only; give worker_traces, or use one process")
        if self.cluster is None and find_spec("distributed") is None:
            raise SettingError(name, "needs Dask: pip install 'token-fulfillment-orchestrator[dask]'")

    async def shards(self, scenario: Scenario) -> int:
        """The number of shards of a new run."""
        if self.cluster is None:
            return shards_for(scenario, self.processes)
        async with self.cluster(PoolPlan(store=self.store.url)) as pool:
            return shards_for(scenario, await pool.size())

    def engine(self) -> EngineFactory:
        """Makes the engine that the coordinator drives."""
        from orchestrator.cluster.engine import ClusterEngine  # noqa: PLC0415  # a run in one process needs none of it

        return partial(ClusterEngine, open_pool=self.cluster or self._local(), store=str(self.store.url))

    def _local(self) -> OpenPool:
        from orchestrator.cluster.dask_pool import local_pool  # noqa: PLC0415  # imports Dask

        return local_pool(self.processes, self.options.lease_s)
