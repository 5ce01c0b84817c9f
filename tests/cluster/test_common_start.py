"""The common start of a scenario by time, and workers that never come."""

from __future__ import annotations

from pathlib import Path

import anyio
import attrs
import pytest

from orchestrator import Scenario, Status, open_store, start
from orchestrator.cluster import common_start
from orchestrator.cluster.attempts import Attempts
from orchestrator.cluster.common_start import PATIENCE_S, CommonStart
from orchestrator.cluster.pool import Task, TaskEnd
from orchestrator.cluster.schedule import Part
from orchestrator.driving.orders import Orders, Report
from orchestrator.load.live import Live
from tests.support.clock import ManualClock
from tests.support.pool import WORKFLOW, TaskPool

ORDERS = Orders(number=1)
READY = Report(number=1, orders=1, waits=True, live=Live())


def test_all_start_together_or_without_a_worker_that_stays_away() -> None:
    attempts, starts = Attempts(ManualClock()), CommonStart()
    attempts.begin("a", Part(shards=(0,)))
    attempts.begin("b", Part(shards=(1,)))
    assert not starts.is_due(ORDERS, attempts, workers=1, now=0.0)
    attempts.take("a", READY)
    assert not starts.is_due(ORDERS, attempts, workers=2, now=PATIENCE_S + 1)  # the other one is there, and not ready yet
    assert not starts.is_due(ORDERS, attempts, workers=1, now=PATIENCE_S + 2)
    assert not starts.is_due(ORDERS, attempts, workers=0, now=2 * PATIENCE_S + 3)
    assert starts.is_due(ORDERS, attempts, workers=1, now=2 * PATIENCE_S + 3)
    attempts.take("b", READY)
    assert starts.is_due(ORDERS, attempts, workers=2, now=0.0)
    assert not starts.is_due(ORDERS.changed(start_at=1.0), attempts, workers=2, now=0.0)  # they have started


@attrs.define
class Leaving(TaskPool):
    """A pool whose second worker leaves before it gets a task: the first one drives that part afterwards."""

    free: anyio.Semaphore = attrs.field(factory=lambda: anyio.Semaphore(1))
    asked: int = 0

    async def size(self) -> int:
        self.asked += 1
        return 2 if self.asked <= 2 else 1

    async def run(self, task: Task, *, urgent: bool) -> TaskEnd:
        async with self.free:
            return await super().run(task, urgent=urgent)


async def test_a_scenario_by_time_starts_although_a_worker_never_comes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_start, "PATIENCE_S", 0.5)
    scenario = Scenario(rate=40.0, duration=0.5)
    async with open_store(f"sqlite:{home / 'runs.db'}") as store:
        async with start(WORKFLOW, store=store, scenario=scenario, cluster=Leaving(2).open) as run:
            with anyio.fail_after(60):
                result = await run.wait()
        assert result.counts == {Status.COMPLETED: 20}
