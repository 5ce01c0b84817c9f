"""The command ``list``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from orchestrator.cli.console import stdout
from orchestrator.cli.resolver import Resolver
from orchestrator.inspection.result import result_of
from orchestrator.inspection.standing import local_time, standing
from orchestrator.inspection.stored_run import newest_runs
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import RunRecord
from orchestrator.report.exit_codes import ExitCode
from orchestrator.storage import open_store, store_exists
from orchestrator.storage.base import Store

RUNS_LISTED = 100
ALL_RUNS = 1_000_000_000
RUN_ID_WIDTH = 13


async def command(observers: Sequence[Observer], *, json: bool = False, config: Path | None = None, **flags: Any) -> int:
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
        found = await newest_runs(store, ALL_RUNS if json else RUNS_LISTED + 1)
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
        table.add_row(row["run"], row["workflow"], local_time(row["started_at"]), row["standing"], counts)
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
        "standing": standing(record, shards),
        "counts": {status.value: number for status, number in result.counts.items()},
    }
