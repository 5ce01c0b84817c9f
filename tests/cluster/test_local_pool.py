"""The worker processes of a local pool: their number stays the same, however they end."""

from __future__ import annotations

import os
import signal
from typing import Any

import anyio
import dask

from orchestrator.cluster.configuration import configuration
from orchestrator.cluster.dask_pool import local_pool
from orchestrator.cluster.pool import PoolPlan


async def pid_of_worker(pool: Any, *, other_than: int) -> int:
    """The process of the only worker, as soon as it is another one."""
    with anyio.fail_after(60):
        while True:
            pids = [nanny.pid for nanny in pool._cluster.workers.values() if nanny.pid is not None]
            if await pool.size() == 1 and pids and pids[0] != other_than:
                return int(pids[0])
            await anyio.sleep(0.05)


def leave(dask_worker: Any) -> None:
    """Close the worker, as it does when it has lost its scheduler."""
    dask_worker.loop.add_callback(dask_worker.close, reason="test")


async def test_a_worker_that_leaves_and_one_that_is_killed_are_started_again() -> None:
    async with local_pool(1, 3.0)(PoolPlan()) as pool:
        first = await pid_of_worker(pool, other_than=0)
        await pool._client.run(leave)
        second = await pid_of_worker(pool, other_than=first)
        os.kill(second, signal.SIGKILL)
        assert await pid_of_worker(pool, other_than=second) not in {first, second}


def test_a_worker_that_is_missing_for_long_is_still_awaited() -> None:
    # Dask closes the nanny of a worker that is missing after this time, also of one that died a second time just then.
    with dask.config.set(configuration(5.0)):
        assert dask.utils.parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout")) > 30 * 86400
