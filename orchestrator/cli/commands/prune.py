"""The command ``prune``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread

from orchestrator.cli.console import stdout
from orchestrator.cli.opening import opened_store
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.selection import statuses_of
from orchestrator.definition.registry import find_workflow, workflow_names
from orchestrator.errors import SettingError, shortened
from orchestrator.lifecycle.duration import parse_duration
from orchestrator.lifecycle.events import Observer
from orchestrator.pruning import PruneResult, prune
from orchestrator.report.exit_codes import ExitCode

SHOWN = 20
"""Runs that are listed; ``--json`` lists all."""


async def command(
    observers: Sequence[Observer],
    *,
    older_than: str | None = None,
    keep: int | None = None,
    dry_run: bool = False,
    yes: bool = False,
    status: Sequence[str] | None = None,
    workflow: str | None = None,
    json: bool = False,
    config: Path | None = None,
    **flags: object,
) -> int:
    """Delete old runs that are finished and have left nothing behind, and give their space back. Needs no key.

    A run stays if it is unfinished, if a process drives it, if an effect of it may exist (`orchestrator cleanup RUN` removes
    these), or if another run reuses it (--reuse). The age is counted from the end of the run.

    Examples:
      orchestrator prune --older-than 30d --dry-run
      orchestrator prune --older-than 30d --keep 100
      orchestrator prune --keep 20 --workflow token-fulfillment --yes
    """
    resolver = Resolver(flags, config)
    selected = partial(
        prune,
        older_than=None if older_than is None else _age(older_than),
        keep=keep,
        statuses=None if status is None else statuses_of(status),
        workflow=workflow,
    )
    async with opened_store(resolver.engine().value, create=False) as store:
        asks = not (yes or dry_run or json) and sys.stdin.isatty() and sys.stdout.isatty()
        if dry_run or asks:
            found = await selected(store, dry_run=True)
            if dry_run or not found.deleted:
                _print(found, json, dry_run=True)
                return ExitCode.SUCCESS
            _print(found, json, dry_run=True)
            if not await _agreed(len(found.deleted)):
                stdout().print("Nothing was deleted.")
                return ExitCode.SUCCESS
        workflows = [find_workflow(name) for name in workflow_names()]
        done = await selected(store, workflows=workflows, directory=resolver.directory)
    if asks:
        stdout().print(_deleted(done))
    else:
        _print(done, json, dry_run=False)
    return ExitCode.SUCCESS


def _age(text: str) -> float:
    if text.strip().isdecimal():
        # A bare number is seconds elsewhere, and somebody may mean days.
        raise SettingError(
            "older-than", f"{shortened(text)} has no unit; write {text.strip()}d for days, or {text.strip()}h for hours"
        )
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SettingError("older-than", str(error)) from error


async def _agreed(number: int) -> bool:
    """Ask at the terminal. In a thread, so that Ctrl-C ends the program at once."""
    question = f"Delete {_runs(number)}? [y/N] "
    try:
        answer = await anyio.to_thread.run_sync(input, question, abandon_on_cancel=True)
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


def _print(result: PruneResult, as_json: bool, *, dry_run: bool) -> None:
    if as_json:
        from orchestrator.report.json import dumps  # noqa: PLC0415  # with all reports behind it

        data = {"deleted": list(result.deleted), "kept": dict(result.kept), "freed_bytes": result.freed, "dry_run": dry_run}
        stdout().print(dumps(data))
        return
    console = stdout()
    for line in _some([f"keeps {run}: {why}" for run, why in result.kept.items()]):
        console.print(line)
    if dry_run:
        for line in _some([f"would delete {run}" for run in result.deleted]):
            console.print(line)
        console.print(f"{_runs(len(result.deleted))} would be deleted, {_stay(result)}.")
    else:
        console.print(_deleted(result))


def _some(lines: Sequence[str]) -> Iterable[str]:
    yield from lines[:SHOWN]
    if len(lines) > SHOWN:
        yield f"… and {len(lines) - SHOWN} more; --json lists all"


def _deleted(result: PruneResult) -> str:
    freed = f"; the store is {_size(result.freed)} smaller" if result.freed else ""
    return f"{_runs(len(result.deleted))} deleted, {_stay(result)}{freed}."


def _stay(result: PruneResult) -> str:
    return f"{len(result.kept)} stay{'s' if len(result.kept) == 1 else ''}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"
