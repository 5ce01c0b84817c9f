"""The task that Dask runs in a worker process: it drives a part of a run on an event loop of its own, in the worker's task thread.

The worker's own event loop stays free for heartbeats, so that a handler that blocks does not make the worker look frozen.
"""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Any

import anyio
from distributed import Worker, get_worker

from orchestrator.cluster.part import Link, drive_part
from orchestrator.cluster.pool import Task
from orchestrator.cluster.relay import Batch
from orchestrator.driving.orders import Orders, Report

TOPIC = "orchestrator"
"""Topic of all messages: only one, because the scheduler keeps the last messages of every topic."""
REPORT, BATCH = "report", "batch"
"""Kinds of messages."""
WATCH_EVERY_S = 0.25

_links: dict[str, Link] = {}
"""Attempt → the link to its driver, in this process."""


def run_task(text: str) -> str:
    """Drive a part; called by Dask in the task thread. Takes a :class:`Task`, returns a :class:`TaskEnd`, both as JSON."""
    worker, task, link = get_worker(), Task.loads(text), Link()
    key = str(worker.get_current_task())
    _links[task.attempt] = link

    def send(found: Report | Batch) -> None:
        kind = REPORT if isinstance(found, Report) else BATCH
        sender = {"run": task.run_id, "attempt": task.attempt, "worker": worker.address}
        worker.log_event(TOPIC, {**sender, "kind": kind, "body": found.dumps()})

    loop: Any = worker.loop
    watch = asyncio.run_coroutine_threadsafe(_watch(worker, key, link), loop.asyncio_loop)
    try:
        uvloop = {"use_uvloop": find_spec("uvloop") is not None}
        return anyio.run(drive_part, task, link, send, backend_options=uvloop).dumps()
    finally:
        watch.cancel()
        del _links[task.attempt]


async def receive_orders(attempt: str, text: str) -> None:
    """Pass orders to a driver of this process; called by Dask on the worker's event loop."""
    link = _links.get(attempt)
    if link is not None:
        link.receive(Orders.loads(text))


async def _watch(worker: Worker, key: str, link: Link) -> None:
    """Let the driver leave when the worker does, or when nobody waits for the task any more because its launcher is gone."""
    try:
        while worker.status.name in ("init", "running", "paused") and _is_wanted(worker, key):  # noqa: ASYNC110  # Dask has no event
            await asyncio.sleep(WATCH_EVERY_S)
    finally:  # also when the loop of a worker that ends cancels this
        link.leave()


def _is_wanted(worker: Any, key: str) -> bool:
    """Whether the scheduler still wants the result of a task. An internal of Dask: if it is not there, the task goes on."""
    try:
        task = worker.state.tasks.get(key)
    except AttributeError:
        return True
    return task is not None and task.state not in ("cancelled", "resumed")
