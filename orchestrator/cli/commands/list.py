"""The command ``list``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from orchestrator.cli.console import stdout
from orchestrator.cli.naming import parse_run
from orchestrator.cli.opening import opened_store
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.selection import filter_of
from orchestrator.clock import SystemClock
from orchestrator.errors import SettingError
from orchestrator.inspection.result import result_of
from orchestrator.inspection.standing import local_time, standing
from orchestrator.inspection.stored_run import every_run
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import RunRecord
from orchestrator.report.exit_codes import ExitCode
from orchestrator.storage import store_exists
from orchestrator.storage.base import Store
from orchestrator.storage.listing import PAGE, RunCursor, RunFilter
from orchestrator.storage.url import without_password

MOST_RUNS = 10_000
"""Maximum of ``--limit``; a page is held in memory."""


async def command(
    observers: Sequence[Observer],
    *,
    limit: int | None = None,
    after: str | None = None,
    everything: bool = False,
    json: bool = False,
    config: Path | None = None,
    **flags: object,
) -> int:
    """List the runs of the store, the newest first. Needs no key.

    It shows 100 runs, says how many there are, and prints the command that shows the next page.

    Examples:
      orchestrator list
      orchestrator list --status running --status interrupted
      orchestrator list --since 7d --workflow token-fulfillment --all
      orchestrator list --store /var/lib/orchestrator/runs.db --json
    """
    resolver = Resolver(flags, config)
    engine, wanted = resolver.engine().value, filter_of(flags, SystemClock().now())
    _check(limit, everything)
    if not await store_exists(engine.url):
        stdout().print(_document([], 0, None) if json else f"No runs yet: there is no store at {without_password(engine.url)}.")
        return ExitCode.SUCCESS
    async with opened_store(engine, create=False) as store:
        cursor = None if after is None else RunCursor.of(await store.run(parse_run(after)))
        if everything:
            found = [run async for run in every_run(store, wanted, after=cursor)]
            total, following = (await store.runs(wanted, limit=0)).total, None
        else:
            page = await store.runs(wanted, after=cursor, limit=limit or PAGE)
            found, total, following = list(page.runs), page.total, page.next
        rows = [await _listed(store, record) for record in found]
    if json:
        stdout().print(_document(rows, total, following))
        return ExitCode.SUCCESS
    _print(rows, filtered=wanted != RunFilter())
    if len(rows) < total:
        more = f"the next page: {_next_command(following, limit, flags)}" if following else "this is the last page"
        stdout().print(f"{len(rows)} of {total} runs; {more}")
    return ExitCode.SUCCESS


def _check(limit: int | None, everything: bool) -> None:
    if limit is not None and everything:
        raise SettingError("limit", "cannot be given beside --all; leave one of them out")
    if limit is not None and not 1 <= limit <= MOST_RUNS:
        raise SettingError("limit", f"{limit} is not between 1 and {MOST_RUNS}; --all lists every run")


async def _listed(store: Store, record: RunRecord) -> JSONObject:
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


def _document(rows: Sequence[JSONObject], total: int, following: RunCursor | None) -> str:
    from orchestrator.report.json import dumps  # noqa: PLC0415  # with all reports behind it

    return dumps({"runs": rows, "total": total, "next": following.run_id if following else None})


def _print(rows: Sequence[JSONObject], *, filtered: bool) -> None:
    if not rows:
        stdout().print("No run matches." if filtered else "No runs yet.")
        return
    table = Table(box=None, pad_edge=False)
    width = max(len(row["run"]) for row in rows)
    for name in ("run", "workflow", "started", "status", "instances"):
        table.add_column(name, no_wrap=name == "run", overflow="fold", min_width=width if name == "run" else None)
    for row in rows:
        counts = ", ".join(f"{number} {status}" for status, number in sorted(row["counts"].items()))
        table.add_row(row["run"], row["workflow"], local_time(row["started_at"]), row["standing"], counts)
    stdout().print(table)


def _next_command(following: RunCursor, limit: int | None, flags: Mapping[str, object]) -> str:
    """The command of this page with the flag that makes it the next one."""
    words = ["orchestrator", "list", "--after", following.run_id]
    if limit is not None:
        words += ["--limit", str(limit)]
    for name, value in flags.items():
        for one in value if isinstance(value, list) else [value]:
            words += [f"--{name}", str(one)] if one is not None else []
    return shlex.join(words)
