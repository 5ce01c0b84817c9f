"""Runs of the toy workflow that are brought to a given point."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator import (
    OnFailure,
    RunStatus,
    Status,
    Store,
    Vault,
    Workflow,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.toy import Ledger, fast, toy


async def finish(workflow: Workflow[Any, Any], store: Store, vault: Vault, **more: Any) -> Any:
    """Run one instance to its end. Returns the instance, and the run's result."""
    options = more.pop("options", fast(vault))
    async with start(workflow, store=store, options=options, **more) as run:
        result = await run.wait()
        return await run.instance(0), result


async def interrupted(store: MemoryStore, ledger: Ledger, vault: Vault, **more: Any) -> str:
    """A run that was stopped in state three."""
    async with start(toy(ledger, **more), store=store, options=fast(vault)) as run:
        ledger.script["run two"] = [lambda step: run.stop()]
        await run.wait()
        return run.id


async def stopped_after(ledger: Ledger, store: Store, vault: Vault, instances: int, total: int) -> str:
    """A run of ``total`` instances that was stopped after this many had completed."""
    async with start(toy(ledger), store=store, instances=total, options=fast(vault)) as run:
        ledger.script = {"run three": [*[None] * (instances - 1), lambda step: run.stop()]}
        result = await run.wait()
    assert result.status is RunStatus.INTERRUPTED
    assert result.counts[Status.PENDING] == total - instances
    return run.id


async def kept_after(ledger: Ledger, store: Store, vault: Vault, instances: int = 1, **more: Any) -> str:
    """A finished run whose failed instances were kept."""
    options = fast(vault)
    async with start(toy(ledger), store=store, instances=instances, on_failure=OnFailure.KEEP, options=options, **more) as run:
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    ledger.calls.clear()
    return run.id


def completed(home: Path) -> int:
    """Completed instances in the default store."""
    try:
        with closing(sqlite3.connect(f"file:{home / 'data/orchestrator/runs.db'}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM instances WHERE status = 'completed'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # the file or its tables are not made yet
