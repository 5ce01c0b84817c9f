"""The command ``load``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from orjson import dumps

from orchestrator.api import AnyRun
from orchestrator.cli.console import stdout
from orchestrator.cli.driving import display_of, drive, options_of
from orchestrator.cli.naming import default_workflow
from orchestrator.cli.opening import opened_store
from orchestrator.cli.outputs import Outputs
from orchestrator.cli.page import page_beside
from orchestrator.cli.preparing import named_scenario, prepare
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.telemetry import open_telemetry
from orchestrator.definition.registry import find_workflow
from orchestrator.errors import SettingError
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import RunStatus
from orchestrator.report.exit_codes import ExitCode


async def command(
    observers: Sequence[Observer],
    *,
    scenario: str | None = None,
    workflow: str | None = None,
    run_id: str | None = None,
    json: bool = False,
    config: Path | None = None,
    no_drive: bool = False,
    web: str | None = None,
    **flags: object,
) -> int:
    """Run many instances by a scenario, and measure them: closed, by arrival rate, or as a soak.

    The scenario comes from flags and from the table [load] of the TOML file SCENARIO; flags win. It is stored with the
    run, so `orchestrator resume` continues the rest of it after an interruption. At the end everything that the
    instances created is removed, unless --on-success keep is given.

    Examples:
      orchestrator load --instances 500 --concurrency 50
      orchestrator load --stages 30s:10,2m:50,30s:0 --threshold 'failed < 1%'
      orchestrator load --rate 5 --duration 10m --threshold 'sign_on.p95 < 800ms' --report load.html
      orchestrator load --concurrency 20 --duration 1h --rounds endless --think-time 1s-3s    (a soak)
      orchestrator load soak.toml --duration 10m
      orchestrator load --instances 20000 --concurrency 200 --processes auto    (all processors of this machine)
    """
    resolver = Resolver(flags, config, scenario=Path(scenario) if scenario is not None else None)
    found = find_workflow(workflow or default_workflow())
    engine, wanted = resolver.engine().value, resolver.load().value
    resolver.check_tables()
    if scenario is not None and not resolver.has_load:
        raise SettingError("load", "there is no such table in the scenario", scenario)
    outputs = Outputs(wanted.report, wanted.csv, wanted.junit)
    outputs.check()
    asked = named_scenario(wanted)
    vault = resolver.vault(create=True)
    display = display_of(found, asked, json, found.name, many=True)
    async with (
        open_telemetry(resolver.telemetry().value) as telemetry,
        opened_store(engine) as store,
        page_beside(web, resolver, store, vault, telemetry) as page,
    ):
        prepared = await prepare(resolver, found, wanted, store, vault)
        if asked.reuse is not None:
            display.say(f"on the instances of run {asked.reuse}, with its settings")
        if prepared.needs is not None:
            display.say(str(prepared.needs))
        options = options_of(resolver, engine, vault, (*display.observers, *observers), telemetry, found)
        opened = prepared.open(store, options, run_id=run_id, reports=outputs.stored(), drive=not no_drive, **engine.workers())
        if no_drive:
            return await _only_store(opened, wanted.shards or 1, json, resolver.suffix)
        return await drive(
            opened, found, store, options, display, telemetry, as_json=json, suffix=resolver.suffix, outputs=outputs, page=page
        )


async def _only_store(opened: AbstractAsyncContextManager[AnyRun], shards: int, as_json: bool, suffix: str | None) -> int:
    """Store a run for other processes to drive, and print the commands that do so."""
    async with opened as run:
        result = await run.wait()
    if as_json:
        stdout().print(dumps({"run": run.id, "shards": shards, "status": result.status.value}).decode())
        return ExitCode.SUCCESS
    if result.status is RunStatus.FINISHED:
        stdout().print(f"Run {run.id} was started before, and is finished: orchestrator show {run.id}{suffix or ''}")
        return ExitCode.SUCCESS
    stdout().print(f"Run {run.id} is stored with {shards} shard{'s' if shards != 1 else ''}. Drive each in its own process:")
    for shard in range(shards):
        stdout().print(f"  orchestrator drive {run.id} --shard {shard}{suffix or ''}")
    return ExitCode.SUCCESS
