"""Drives a part of a run in a worker process, for the launcher. Knows nothing of the engine that has started the process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import attrs

from orchestrator.cluster.pool import Ending, Task, TaskEnd
from orchestrator.cluster.reference import workflow_of
from orchestrator.cluster.relay import Batch, RelayHandler, Sender
from orchestrator.cluster.traces import open_traces
from orchestrator.driving.coordinator import Assignment, Coordinator
from orchestrator.driving.options import Job, Options
from orchestrator.driving.orders import Follower, Orders, Report
from orchestrator.driving.plan import Mode
from orchestrator.errors import (
    CheckpointError,
    ConfigurationError,
    LeaseExpiredError,
    LeaseHeldError,
    OrchestratorError,
    StaleEpochError,
    StoreError,
    StoreLostError,
)
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.settings import default_key_file
from orchestrator.storage import open_store
from orchestrator.storage.encryption import find_key
from orchestrator.storage.lease import this_process

LEAVE = 1_000_000_000
"""Number of the orders that a process gives itself when it must leave; the launcher never counts so far."""


class Link:
    """Passes orders from another thread to the event loop that drives."""

    def __init__(self) -> None:
        self.leaving = False
        """Whether the process leaves the pool, or has lost its launcher."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._follower: Follower | None = None
        self._early: list[Orders] = []

    def connect(self, follower: Follower) -> None:
        """Called on the event loop that drives."""
        with self._lock:
            self._loop, self._follower = asyncio.get_running_loop(), follower
            early, self._early = self._early, []
        for orders in early:
            follower.receive(orders)

    def disconnect(self) -> None:
        """The loop is about to end."""
        with self._lock:
            self._loop = None

    def receive(self, orders: Orders) -> None:
        """Called from any thread."""
        with self._lock:
            if self._follower is None:
                self._early.append(orders)
            elif self._loop is not None:
                self._loop.call_soon_threadsafe(self._follower.receive, orders)

    def leave(self) -> None:
        """Let attempts in flight finish, and suspend the rest. Called from any thread."""
        if not self.leaving:
            self.leaving = True
            self.receive(Orders(number=LEAVE, stop=True))


async def drive_part(task: Task, link: Link, send: Callable[[Report | Batch], None]) -> TaskEnd:
    """Drive the shards of a task until they are done, or the launcher says stop. Raises nothing that is expected."""
    process = str(this_process())
    follower = Follower(task.orders, send, judged=task.judged)
    sender = Sender(send, {"run": task.run_id, "shards": list(task.shards), "process": process})
    link.connect(follower)
    with _logs_relayed(sender, here=task.launcher == process):
        try:
            end = await _drive(task, follower, sender)
        except OrchestratorError as error:
            end = _failed(error)
        finally:
            link.disconnect()
    sender.flush()
    return attrs.evolve(end, process=process, report=follower.last, batches=sender.sent)


@contextmanager
def _logs_relayed(sender: Sender, *, here: bool) -> Iterator[None]:
    """Let the launcher log warnings and errors of this process while the block lasts.

    Args:
        here: Whether this process is the launcher's.
    """
    if here:
        yield
        return
    root, handler = logging.getLogger(), RelayHandler(sender)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


async def _drive(task: Task, follower: Follower, sender: Sender) -> TaskEnd:
    workflow = workflow_of(task.workflow)
    if workflow.definition != task.definition:
        raise ConfigurationError(
            f"the workflow {workflow.name!r} here is not that of the launcher; install the same version on all machines"
        )
    async with open_store(task.store, create=False, timeout_s=task.store_timeout_s) as store:
        left = [shard.index for shard in await store.shards(task.run_id) if shard.index in task.shards and not shard.done]
        if not left:
            return TaskEnd(ending=Ending.DONE)
        vault = find_key(os.environ, default_key_file(), create=False)
        run = await StoredRun.load(workflow, task.run_id, store=store, vault=vault)
        settings = StoredRun(
            record=attrs.evolve(run.record, settings=task.settings), workflow=workflow, store=store, vault=vault
        ).settings()
        async with open_traces(task.traces, vault, task.run_id, task.shards, workflow.name) as tracer:
            options = Options(lease_s=task.lease_s, grace_s=task.grace_s, vault=vault, tracer=tracer)
            job = Job(workflow=workflow, settings=settings, store=store, vault=vault, options=options)
            assignment = Assignment(mode=Mode.RESUME, only=left, places=task.places, elapsed=task.elapsed)
            coordinator = Coordinator(job, run.record, assignment, follower=follower)
            sender.observe(follower.orders.observed, coordinator.observers.add)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sender.keep, follower, coordinator.observers.add)
                await coordinator.execute()
                tasks.cancel_scope.cancel()
    if isinstance(coordinator.error, CheckpointError) and coordinator.engine.unreadable:
        return TaskEnd(ending=Ending.UNREADABLE, error=str(coordinator.engine.unreadable[0]))
    if coordinator.error is not None:
        return _failed(coordinator.error)
    done = coordinator.result is not None and coordinator.result.part_done
    return TaskEnd(ending=Ending.DONE if done else Ending.STOPPED)


def _failed(error: Exception) -> TaskEnd:
    text = "; ".join([str(error), *getattr(error, "__notes__", ())])
    if isinstance(error, LeaseHeldError):
        return TaskEnd(ending=Ending.HELD, error=text)
    if isinstance(error, LeaseExpiredError | StaleEpochError):
        return TaskEnd(ending=Ending.LOST, error=text)
    if isinstance(error, StoreError) and not isinstance(error, StoreLostError):
        return TaskEnd(ending=Ending.STORE_FAILED, error=text)
    if not isinstance(error, OrchestratorError):
        text = f"{type(error).__name__}: {text}"
    return TaskEnd(ending=Ending.FAILED, error=text)
