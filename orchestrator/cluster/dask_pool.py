"""A pool on Dask: worker processes of this machine, or of a cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any

import anyio
import attrs
import dask
from distributed import Client, KilledWorker, LocalCluster
from distributed.security import Security

from orchestrator.cluster.address import ClusterAddress, is_loopback
from orchestrator.cluster.configuration import configuration, ttl_for
from orchestrator.cluster.dask_task import REPORT, TOPIC, receive_orders, run_task
from orchestrator.cluster.handshake import compare, describe
from orchestrator.cluster.nanny import PatientNanny, WorkerStartError
from orchestrator.cluster.pool import OnMessage, OpenPool, PoolPlan, Task, TaskEnd, WorkerLostError
from orchestrator.cluster.relay import Batch
from orchestrator.cluster.spread import GUARD
from orchestrator.driving.orders import Orders, Report
from orchestrator.errors import ClusterError, SettingError
from orchestrator.json_types import JSONObject

SEND_LIMIT_S = 2.0
"""How long to wait for a worker that does not answer; the orders are repeated anyway."""
CONNECT_LIMIT_S = 10.0
WORKERS_LIMIT_S = 30.0
CLOSE_LIMIT_S = 10.0
CHECKS = 5
"""Attempts to compare the workers with this process: some may come and go meanwhile."""
CHECK_PAUSE_S = 0.5
URGENT = 10
GONE = "the scheduler of the cluster is gone"


class DaskPool:
    """See :class:`~orchestrator.cluster.pool.Pool`."""

    def __init__(self, client: Client, run_id: str, on_message: OnMessage, cluster: LocalCluster | None = None) -> None:
        self._client = client
        self._cluster = cluster
        self._run_id = run_id
        self._on_message = on_message
        self._worker_of: dict[str, str] = {}
        """Attempt → address of its worker."""
        client.subscribe_topic(TOPIC, self._receive)

    async def size(self) -> int:
        try:
            return len(await self._client.nthreads())
        except OSError as error:
            raise ClusterError(GONE) from error

    async def run(self, task: Task, *, urgent: bool) -> TaskEnd:
        # A fresh key for each attempt: Dask would take the result of an earlier one. No retries by Dask: the launcher knows more.
        future = self._client.submit(
            run_task, task.dumps(), key=task.attempt, pure=False, retries=0, priority=URGENT if urgent else 0
        )
        try:
            return TaskEnd.loads(await future)
        except KilledWorker as error:
            raise WorkerLostError(str(error)) from error
        except (CancelledError, asyncio.CancelledError) as error:
            if (current := asyncio.current_task()) is not None and current.cancelling():
                raise
            raise ClusterError(GONE) from error
        finally:
            self._worker_of.pop(task.attempt, None)
            # Dask computes a finished task again if its result was on a worker that dies.
            future.release()

    async def send(self, attempt: str, orders: Orders) -> None:
        address = self._worker_of.get(attempt)
        if address is None:
            return
        with anyio.move_on_after(SEND_LIMIT_S), suppress(OSError):  # the task that runs there finds out that its worker is gone
            await self._client.run(receive_orders, attempt, orders.dumps(), workers=[address], on_error="ignore")

    def replace(self, attempt: str) -> None:
        address = self._worker_of.get(attempt)
        for nanny in self._cluster.workers.values() if self._cluster is not None else ():
            if nanny.worker_address == address and nanny.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)  # its nanny starts another one

    async def _receive(self, event: tuple[float, JSONObject]) -> None:
        message = event[1]
        if message.get("run") == self._run_id:
            self._worker_of[message["attempt"]] = message["worker"]
            text = message["body"]
            self._on_message(message["attempt"], Report.loads(text) if message["kind"] == REPORT else Batch.loads(text))


def _silence_dask() -> None:
    """Dask logs dead workers and lost connections with their tracebacks; the launcher handles and reports them."""
    for name in ("", ".client", ".scheduler", ".nanny", ".worker", ".core"):
        logging.getLogger(f"distributed{name}").setLevel(logging.CRITICAL)


def _why(error: Exception) -> str:
    """The reason why worker processes cannot start, and the cure."""
    cause = error.__cause__
    if not isinstance(cause, WorkerStartError):
        return str(error)
    if cause.was_killed:
        return f"{cause.text}, again and again; check the memory and the limits of this machine, then try again"
    return f"{cause.text}; {GUARD}"


def local_pool(processes: int, lease_s: float) -> OpenPool:
    """Worker processes of this machine, which end with the pool.

    They listen on loopback only, and encrypt: otherwise each user of this machine could run code in them.
    """

    @asynccontextmanager
    async def open_pool(plan: PoolPlan) -> AsyncIterator[DaskPool]:
        _silence_dask()
        security = Security.temporary()
        settings = configuration(ttl_for(lease_s))
        with dask.config.set(settings):
            try:
                cluster = await LocalCluster(
                    n_workers=processes,
                    threads_per_worker=1,
                    worker_class=PatientNanny,
                    host="127.0.0.1",
                    protocol="tls://",
                    security=security,
                    dashboard_address="127.0.0.1:0",
                    memory_limit=0,
                    preload=["orchestrator.cluster.preload"],
                    env={"DASK_LOGGING__DISTRIBUTED": "critical"},
                    asynchronous=True,
                    silence_logs=logging.CRITICAL,
                )
            except (RuntimeError, OSError) as error:
                raise ClusterError(f"the worker processes cannot start: {_why(error)}") from error
            try:
                async with Client(cluster, asynchronous=True, security=security) as client:
                    yield DaskPool(client, plan.run_id, plan.on_message, cluster)
            finally:
                with anyio.move_on_after(CLOSE_LIMIT_S, shield=True):
                    closing: Any = cluster.close()
                    await closing

    return open_pool


def remote_pool(address: ClusterAddress) -> OpenPool:
    """The workers of a running cluster, which stay when the run has ended.

    Args:
        address: Of its scheduler.
    """
    return _pool_of(address, _security_of(address))


def pool_of(client: Client) -> OpenPool:
    """The workers that a Dask client of this program is connected to."""
    scheduler: Any = client.scheduler
    url = str(scheduler.address)
    return _pool_of(_Known(url), client.security, client if url.startswith("inproc") else None)


@attrs.frozen
class _Known:
    """The address of a client that the program made itself."""

    url: str

    def check_store(self, store: str | None, workers: list[str]) -> None:
        if not all(map(is_loopback, workers)) and not (store or "").startswith("postgres"):
            raise SettingError("store", "an SQLite file serves one machine; a cluster of several needs postgresql://…")


def _security_of(address: ClusterAddress) -> Security | None:
    if address.tls is None:
        return None
    files = address.tls
    return Security(
        require_encryption=True,
        tls_ca_file=str(files.authority),
        tls_client_cert=str(files.certificate),
        tls_client_key=str(files.key),
    )


def _pool_of(address: ClusterAddress | _Known, security: object, client: Client | None = None) -> OpenPool:
    @asynccontextmanager
    async def open_pool(plan: PoolPlan) -> AsyncIterator[DaskPool]:
        _silence_dask()
        async with _client(address.url, security) if client is None else nullcontext(client) as connected:
            await _check_workers(connected, address, plan)
            yield DaskPool(connected, plan.run_id, plan.on_message)

    return open_pool


async def _check_workers(client: Client, address: ClusterAddress | _Known, plan: PoolPlan) -> None:
    """Ask again if a worker is gone before it has answered."""
    for left in reversed(range(CHECKS)):
        try:
            workers = await _workers(client, address.url)
            address.check_store(plan.store, list(workers))
            if plan.workflow is not None:
                compare(describe(plan.workflow), await client.run(describe, plan.workflow))
        except (OSError, CancelledError) as error:  # Dask's own errors of connections are OSErrors
            if not left:
                raise ClusterError(
                    f"the scheduler at {address.url} or one of its workers is gone ({error}); start it, then try again"
                ) from error
            await anyio.sleep(CHECK_PAUSE_S)
        else:
            return


@asynccontextmanager
async def _client(url: str, security: object) -> AsyncIterator[Client]:
    try:
        client = await Client(url, asynchronous=True, security=security, timeout=CONNECT_LIMIT_S)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise ClusterError(
            f"the scheduler at {url} cannot be reached: {error}; check its address and the certificates"
        ) from error
    try:
        yield client
    finally:
        with anyio.move_on_after(CLOSE_LIMIT_S, shield=True):
            closing: Any = client.close()
            await closing


async def _workers(client: Client, url: str) -> dict[str, int]:
    """Address → threads, as soon as there is a worker. Each must have one thread: a shard needs a processor of its own."""
    try:
        waiting: Any = client.wait_for_workers  # annotated as if it were synchronous
        await waiting(1, timeout=WORKERS_LIMIT_S)
    except TimeoutError as error:
        raise ClusterError(f"the cluster at {url} has no workers; start some with `orchestrator cluster worker`") from error
    workers: dict[str, int] = await client.nthreads()
    for address, threads in workers.items():
        if threads != 1:
            raise ClusterError(
                f"the worker {address} has {threads} threads; start it with `orchestrator cluster worker`, or --nthreads 1"
            )
    return workers
