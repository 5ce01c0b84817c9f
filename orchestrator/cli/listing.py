"""The command ``list``, and how the standing of a run is told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from orchestrator.cli.console import stdout
from orchestrator.cli.parameters import Resolver
from orchestrator.clock import SystemClock
from orchestrator.inspection.reading import result_of
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.report.exit_codes import ExitCode
from orchestrator.storage import open_store, store_exists
from orchestrator.storage.base import Shard, Store
from orchestrator.storage.lease import Owner, is_gone

RUNS_LISTED = 100
ALL_RUNS = 1_000_000_000
RUN_ID_WIDTH = 13


async def list_runs(observers: Sequence[Observer], *, json: bool = False, config: Path | None = None, **flags: Any) -> int:
    """List the runs of the store, the newest first. Needs no key.

    Examples:
      orchestrator list
      orchestrator list --store /var/lib/orchestrator/runs.db --json
    """
    engine = Resolver(flags, config).engine().value
    if not store_exists(engine.url):
        stdout().print("[]" if json else f"No runs yet: there is no store at {engine.url}.")
        return ExitCode.SUCCESS
    async with open_store(engine.url, create=False) as store:
        found = await store.runs(ALL_RUNS if json else RUNS_LISTED + 1)
        rows = [await _listed(store, record) for record in found[: None if json else RUNS_LISTED]]
    if json:
        from orchestrator.report.json import dumps  # noqa: PLC0415  # with all reports behind it

        stdout().print(dumps(rows))
        return ExitCode.SUCCESS
    table = Table(box=None, pad_edge=False)
    for name in ("run", "workflow", "started", "status", "instances"):
        table.add_column(name, no_wrap=name == "run", overflow="fold", min_width=RUN_ID_WIDTH if name == "run" else None)
    for row in rows:
        counts = ", ".join(f"{number} {status}" for status, number in sorted(row["counts"].items()))
        table.add_row(row["run"], row["workflow"], when(row["started_at"]), row["standing"], counts)
    stdout().print(table if rows else "No runs yet.")
    if len(found) > len(rows):
        stdout().print("… and older ones; --json lists all")
    return ExitCode.SUCCESS


async def _listed(store: Store, record: RunRecord) -> dict[str, Any]:
    result = await result_of(store, record)
    shards = await store.shards(record.id)
    return {
        "run": record.id,
        "workflow": record.workflow,
        "started_at": record.created_at,
        "status": record.status.value,
        "standing": standing(record, shards[0] if shards else None),
        "counts": {status.value: number for status, number in result.counts.items()},
    }


def standing(record: RunRecord, shard: Shard | None) -> str:
    """The status of a run as it is: one whose process died says *running* in the store."""
    under_way = {
        RunStatus.RUNNING: ("running", "interrupted (its process is gone)"),
        RunStatus.RETRYING: ("being retried", "retry interrupted"),
        RunStatus.CLEANING_UP: ("being cleaned up", "clean-up interrupted"),
    }
    if record.status not in under_way:
        return record.status.value
    driven, left = under_way[record.status]
    who = driver(shard)
    return f"{driven} ({who})" if who else left


def driver(shard: Shard | None) -> str | None:
    """Who drives a shard now, and until when."""
    now = SystemClock().now()
    if shard is None or shard.owner is None or shard.lease_until <= now or is_gone(Owner.loads(shard.owner)):
        return None
    return f"{Owner.loads(shard.owner)}, lease until {when(shard.lease_until)}"


def when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
