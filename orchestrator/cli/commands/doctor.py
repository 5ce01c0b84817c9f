"""The command ``doctor``."""

from __future__ import annotations

import sqlite3
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from orchestrator.cli.console import stdout
from orchestrator.cli.naming import default_workflow
from orchestrator.cli.opening import opened_store
from orchestrator.cli.resolver import Resolver
from orchestrator.clock import SystemClock
from orchestrator.definition.registry import find_workflow
from orchestrator.definition.workflow import AnyWorkflow, ServiceContext
from orchestrator.errors import OrchestratorError
from orchestrator.inspection.stored_run import check_key, every_run
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import UNFINISHED, RunRecord
from orchestrator.report import json as json_report
from orchestrator.report.exit_codes import ExitCode
from orchestrator.secret import Secret
from orchestrator.storage import store_exists
from orchestrator.storage.listing import RunFilter
from orchestrator.storage.url import without_password


async def command(
    observers: Sequence[Observer], *, workflow: str | None = None, json: bool = False, config: Path | None = None, **flags: object
) -> int:
    """Check configuration, store, key, and whether the tenant answers. Changes nothing.

    The exit code is 2 if anything is wrong; each line says how to correct it.

    Examples:
      orchestrator doctor
      PINGONE_REGION_CODE=EU orchestrator doctor --json
    """
    found = find_workflow(workflow or default_workflow())
    resolver = Resolver(flags, config)
    lines = [line async for line in _checks(found, resolver)]
    failed = [line for line in lines if not line[1]]
    if json:
        data = {"ok": not failed, "checks": [{"check": check, "ok": ok, "fact": fact} for check, ok, fact in lines]}
        stdout().print(json_report.dumps(data))
    else:
        for check, ok, fact in lines:
            stdout().print(f"{'ok   ' if ok else 'WRONG'} {check:<16} {fact}")
    return ExitCode.USAGE if failed else ExitCode.SUCCESS


async def _checks(workflow: AnyWorkflow, resolver: Resolver) -> AsyncIterator[tuple[str, bool, str]]:
    yield "python", True, f"{sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION}"
    yield "workflow", True, f"{workflow.name} version {workflow.version}, {len(workflow.states)} states"
    for notice in workflow.notices():
        yield "notice", True, notice
    settings = None
    try:
        resolver.check_tables()
        resolver.run()
        resolved = resolver.workflow(workflow)
        settings = resolved.value
        given = {name: source for name, source in resolved.sources.items() if source != "default"}
        shown = [f"{name.replace('_', '-')}={_shown(getattr(settings, name))} ({source})" for name, source in given.items()]
        yield "settings", True, ", ".join(shown) or "all defaults"
    except OrchestratorError as error:
        yield "settings", False, str(error)
    runs: list[RunRecord] = []
    try:
        url = resolver.engine().value.url
        if await store_exists(url):
            async with opened_store(resolver.engine().value, create=False) as store:
                newest = await store.runs(limit=1)
                unfinished = [run async for run in every_run(store, RunFilter(statuses=UNFINISHED))]
                runs = [*newest.runs, *unfinished]
                condition = await store.facts()
                parts = (f"{store.where}, {newest.total} runs", condition.text, condition.problem)
                yield "store", condition.problem is None, "; ".join(filter(None, parts))
        else:
            yield "store", True, f"none at {without_password(url)} yet; the first run makes it"
    except OrchestratorError as error:
        yield "store", False, str(error)
    yield _check_key(resolver, runs)
    if settings is None and isinstance(workflow.settings, type):
        return
    context = ServiceContext(
        run_id=None,
        check_lease=lambda: None,
        directory=None,
        seal=lambda data: data,
        unseal=lambda data: data,
        concurrency=1,
        clock=SystemClock(),
    )
    try:
        async with workflow.open_shared(settings, context) as shared, workflow.open_services(shared, context) as services:
            facts = await workflow.check(services) if workflow.check else {"services": "open"}
            for name, fact in facts.items():
                yield name, True, fact
    except OrchestratorError as error:
        yield "services", False, str(error)


def _check_key(resolver: Resolver, runs: Sequence[RunRecord]) -> tuple[str, bool, str]:
    """Compare the key with these runs: the newest, and every unfinished one. Older finished ones may have had another key."""
    try:
        if not resolver.is_lasting:
            return "key", True, "none needed: a store in memory has its own"
        if not runs and not resolver.has_key:
            return "key", True, "none yet; the first run makes it"
        vault = resolver.vault()
        for record in runs:
            check_key(record, vault)
    except OrchestratorError as error:
        return "key", False, str(error)
    return "key", True, f"{vault.key_id} from {vault.source}"


def _shown(value: object) -> str:
    return str(value) if isinstance(value, Secret) else str(getattr(value, "value", value))
