"""A pool whose workers are tasks of this process, and a workflow that they find."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs

from orchestrator.cluster.part import Link, drive_part
from orchestrator.cluster.pool import OnMessage, PoolPlan, Task, TaskEnd
from orchestrator.cluster.relay import Batch
from orchestrator.driving.orders import Orders, Report
from tests.support.toy import Ledger, Making, toy

LEDGER = Ledger()
"""The external system of the workflow; a test empties it."""


class Limited(Making):
    """One object, within a rate."""

    name = "limited"
    transitions = {"done": "second"}
    rate_group = "g"


class Second(Making):
    name = "second"
    transitions = {"done": "completed"}


WORKFLOW = toy(LEDGER, Limited(), Second())


@attrs.define
class TaskPool:
    """See :class:`~orchestrator.cluster.pool.Pool`. ``workers`` may change at any time."""

    workers: int
    started: list[Task] = attrs.field(factory=list)
    """The tasks of all launches."""
    links: dict[str, Link] = attrs.field(factory=dict)
    deaf: bool = False
    """Whether orders are lost on their way."""
    most_at_once: int = 0
    replaced: list[str] = attrs.field(factory=list)
    _on_message: OnMessage | None = None

    @asynccontextmanager
    async def open(self, plan: PoolPlan) -> AsyncIterator[TaskPool]:
        """An ``OpenPool``."""
        self._on_message = plan.on_message
        yield self

    async def size(self) -> int:
        return self.workers

    async def run(self, task: Task, *, urgent: bool) -> TaskEnd:
        task = Task.loads(task.dumps())
        self.started.append(task)
        link = self.links[task.attempt] = Link()
        self.most_at_once = max(self.most_at_once, len(self.links))
        try:
            return TaskEnd.loads((await drive_part(task, link, partial(self._pass_on, task.attempt))).dumps())
        finally:
            del self.links[task.attempt]

    def _pass_on(self, attempt: str, message: Report | Batch) -> None:
        assert self._on_message is not None
        self._on_message(attempt, type(message).loads(message.dumps()))

    async def send(self, attempt: str, orders: Orders) -> None:
        if not self.deaf and attempt in self.links:
            self.links[attempt].receive(Orders.loads(orders.dumps()))

    def replace(self, attempt: str) -> None:
        self.replaced.append(attempt)
