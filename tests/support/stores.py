"""Records for tests of stores, and a store whose clock the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs

from orchestrator import (
    Checkpoint,
    Event,
    EventKind,
    OnFailure,
    OnSuccess,
    RunRecord,
    RunStatus,
    Shard,
    Status,
    Store,
    open_store,
)
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.lease import Owner

RUN = "261123-000000"
NOW = 1_000_000.0
OTHER = Owner(host="elsewhere", boot_id="b", pid=7, started="1")


def record(run_id: str = RUN, **more: Any) -> RunRecord:
    """A run with a value in every field."""
    base = RunRecord(
        id=run_id,
        workflow="toy",
        version=1,
        definition="d1",
        status=RunStatus.RUNNING,
        scenario=Scenario(instances=5, concurrency=2),
        settings={"workflow": {"a": 1}},
        on_failure=OnFailure.ROLLBACK,
        on_success=OnSuccess.KEEP,
        rates={"configuration": 3.5},
        key_id="k",
        created_at=NOW,
        updated_at=NOW,
    )
    return attrs.evolve(base, **more)


def checkpoint(
    number: int, status: Status = Status.RUNNING, position: str = "one", run_id: str = RUN, body: bytes = b"{}"
) -> Checkpoint:
    """A checkpoint of an instance that runs."""
    return Checkpoint(run_id=run_id, number=number, status=status, position=position, updated_at=NOW, not_before=None, body=body)


def event(number: int, seq: int) -> Event:
    """A transition of an instance."""
    return Event(
        run_id=RUN,
        number=number,
        kind=EventKind.MOVED,
        at=NOW,
        state="one",
        outcome="done",
        target="two",
        duration_s=0.5,
        seq=seq,
    )


class StoreClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time


class Place:
    """A URL, and the clock that its stores measure leases with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = StoreClock()

    @asynccontextmanager
    async def opened(self, shards: int = 1) -> AsyncIterator[Store]:
        """Open the store, with a new run ``RUN`` in it."""
        async with open_store(self.url, clock=self.clock) as store:
            await store.create_run(record(), {"one": "f1"}, shards=shards)
            yield store

    async def taken_over(self, store: Store, owner: Owner = OTHER) -> Shard:
        """The first shard, claimed after the lease of its owner has expired."""
        self.clock.time += 31
        return await store.claim(RUN, 0, owner, 30)
