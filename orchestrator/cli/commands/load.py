"""The command ``load``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs
from orjson import dumps

from orchestrator import api
from orchestrator.api import Run
from orchestrator.cli.console import stdout
from orchestrator.cli.driving import display_of, drive, options_of
from orchestrator.cli.naming import default_workflow, parse_run
from orchestrator.cli.outputs import Outputs
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.telemetry import open_telemetry
from orchestrator.definition.registry import find_workflow
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import SettingError
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.lifecycle.events import Observer
from orchestrator.load.estimate import estimate
from orchestrator.report.exit_codes import ExitCode
from orchestrator.settings import settings_of
from orchestrator.storage import open_store
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault


async def command(
    observers: Sequence[Observer],
    *,
    scenario: str | None = None,
    workflow: str | None = None,
    json: bool = False,
    config: Path | None = None,
    no_drive: bool = False,
    **flags: Any,
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
    """
    resolver = Resolver(flags, config, scenario=Path(scenario) if scenario is not None else None)
    found = find_workflow(workflow or default_workflow())
    engine, wanted = resolver.engine().value, resolver.load().value
    resolver.check_tables()
    if scenario is not None and not resolver.has_load:
        raise SettingError("load", "there is no such table in the scenario", scenario)
    outputs = Outputs(wanted.report, wanted.csv, wanted.junit)
    outputs.check()
    asked = wanted.scenario()
    if asked.reuse is not None:
        asked = attrs.evolve(asked, reuse=parse_run(asked.reuse))
    vault = resolver.vault(create=True)
    display = display_of(found, asked, json, found.name, many=True)
    async with open_telemetry(resolver.telemetry().value) as telemetry, open_store(engine.url) as store:
        if asked.reuse is None:
            settings = resolver.workflow(found).value
        else:
            settings = await _settings_of_used(found, store, vault, resolver, asked.reuse, flags)
            display.say(f"on the instances of run {asked.reuse}, with its settings")
        rates = found.rates(settings) if wanted.rates is None else wanted.rates
        api.check(found, asked, rates, wanted.threshold, wanted.record)
        if (needs := estimate(found, asked, rates, wanted.on_success)) is not None:
            display.say(str(needs))
        options = options_of(resolver, engine, vault, (*display.observers, *telemetry.observers, *observers))
        opened = api.start(
            found,
            settings,
            store=store,
            scenario=asked,
            on_failure=wanted.on_failure,
            on_success=wanted.on_success,
            rates=rates,
            thresholds=wanted.threshold,
            abort=wanted.abort,
            recorded=wanted.record,
            reports=outputs.stored(),
            shards=wanted.shards,
            drive=not no_drive,
            options=options,
        )
        if no_drive:
            return await _only_store(opened, wanted.shards, json, resolver.suffix)
        return await drive(opened, found, store, options, display, telemetry, as_json=json, suffix=resolver.suffix)


async def _only_store(opened: AbstractAsyncContextManager[Run[Any]], shards: int, as_json: bool, suffix: str | None) -> int:
    """Store a run for other processes to drive, and print the commands that do so."""
    async with opened as run:
        await run.wait()
    if as_json:
        stdout().print(dumps({"run": run.id, "shards": shards}).decode())
        return ExitCode.SUCCESS
    stdout().print(f"Run {run.id} is stored with {shards} shard{'s' if shards != 1 else ''}. Drive each in its own process:")
    for shard in range(shards):
        stdout().print(f"  orchestrator drive {run.id} --shard {shard}{suffix or ''}")
    return ExitCode.SUCCESS


async def _settings_of_used(
    found: Workflow[Any, Any], store: Store, vault: Vault, resolver: Resolver, use: str, flags: Mapping[str, Any]
) -> Any:
    """The settings of the run whose instances are reused: they exist in the environment of that run."""
    for s in settings_of(found.settings):
        if flags.get(s.name) is not None and not s.renewable:
            raise SettingError("reuse", f"takes the settings of run {use}: {s.flag} cannot change them")
    stored = (await StoredRun.load(found, use, store=store, vault=vault)).settings()
    changes = resolver.renewed(found)
    return attrs.evolve(stored, **changes) if changes else stored
