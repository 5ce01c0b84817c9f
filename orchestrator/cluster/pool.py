"""The contract of a pool: worker processes that drive parts of a run. Everything that crosses a process boundary is JSON text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol

import attrs
import orjson

from orchestrator.cluster.relay import Batch
from orchestrator.driving.orders import Orders, Report
from orchestrator.json_types import JSONObject


@attrs.frozen(kw_only=True)
class Task:
    """The data that a worker process needs to drive a part of a run. It holds no secret in clear: a scheduler can read it.

    The worker finds the key that decrypts the settings, and the password of the store, where every process of this program finds
    them: in its environment, or in a file.
    """

    run_id: str
    shards: tuple[int, ...]
    attempt: str
    """Unique; names the task in reports and orders."""
    workflow: str
    """See :mod:`orchestrator.cluster.reference`."""
    definition: str
    """Fingerprint that the worker's workflow must have."""
    store: str
    """URL."""
    store_timeout_s: float
    settings: Mapping[str, object]
    """As they are stored with the run: secrets encrypted."""
    lease_s: float
    grace_s: float
    places: int | None
    """Instances that this part drives at once; ``None``: its part of the scenario's."""
    elapsed: float
    """Seconds of the scenario that have passed in the run."""
    judged: bool
    """Whether the launcher judges thresholds."""
    traces: str | None = None
    """How traces are sent (:class:`~orchestrator.cluster.traces.Wanted`), encrypted; ``None``: not at all."""
    launcher: str = ""
    """The process that the task is for."""
    orders: Orders

    def dumps(self) -> str:
        """As JSON."""
        return orjson.dumps(attrs.asdict(self, recurse=False) | {"orders": self.orders.dumps()}).decode()

    @classmethod
    def loads(cls, text: str) -> Task:
        """The inverse of :meth:`dumps`."""
        data: JSONObject = orjson.loads(text)
        return cls(**data | {"shards": tuple(data["shards"]), "orders": Orders.loads(data["orders"])})


class Ending(StrEnum):
    """How a task ends."""

    DONE = "done"
    """All its shards are finished."""
    STOPPED = "stopped"
    """It was asked to stop, or its worker leaves the pool; another task continues."""
    HELD = "held"
    """Another process has the lease."""
    LOST = "lost"
    """The lease expired, or another process took a shard over."""
    GONE = "gone"
    """Its process has died."""
    STORE_FAILED = "store_failed"
    UNREADABLE = "unreadable"
    """A checkpoint cannot be read; all other instances were driven."""
    FAILED = "failed"


@attrs.frozen(kw_only=True)
class TaskEnd:
    """The end of a task."""

    ending: Ending
    error: str = ""
    process: str = ""
    """Names the worker process in messages."""
    report: Report | None = None
    """The last one, with the final numbers."""
    batches: int = 0
    """Batches of events that were sent."""

    def dumps(self) -> str:
        """As JSON."""
        report = None if self.report is None else self.report.dumps()
        return orjson.dumps(attrs.asdict(self, recurse=False) | {"report": report}).decode()

    @classmethod
    def loads(cls, text: str) -> TaskEnd:
        """The inverse of :meth:`dumps`."""
        data: JSONObject = orjson.loads(text)
        report = None if data["report"] is None else Report.loads(data["report"])
        return cls(**data | {"ending": Ending(data["ending"]), "report": report})


class WorkerLostError(Exception):
    """The process that ran a task is gone."""


class Pool(Protocol):
    """Worker processes; each runs one task at a time."""

    async def size(self) -> int:
        """The number of workers now."""

    async def run(self, task: Task, *, urgent: bool) -> TaskEnd:
        """Run a task in any worker.

        Args:
            urgent: Before tasks that are not.

        Raises:
            WorkerLostError: Its process has died.
            ClusterError: The pool itself is gone.
        """

    async def send(self, attempt: str, orders: Orders) -> None:
        """Pass orders to the worker that runs this task. They may be lost: send until a report confirms them."""

    def replace(self, attempt: str) -> None:
        """The worker that runs this task has reported nothing for the length of its lease: end its process, if that is possible from
        here."""


OnMessage = Callable[[str, Report | Batch], None]
"""Attempt, and a message of its worker."""


@attrs.frozen(kw_only=True)
class PoolPlan:
    """The purpose of a pool."""

    run_id: str = ""
    store: str | None = None
    """URL of the store that the workers will open."""
    workflow: str | None = None
    """Reference of the workflow, which all workers must have; ``None``: they are only counted."""
    on_message: OnMessage = lambda attempt, message: None


OpenPool = Callable[[PoolPlan], AbstractAsyncContextManager[Pool]]
"""Opens the pool.

Raises:
    ClusterError: The workers cannot be started or reached, or differ from this process.
    SettingError: They cannot use the store.
"""
