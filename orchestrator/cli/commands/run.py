"""The command ``run``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.cli.driving import display_of, drive, options_of
from orchestrator.cli.naming import default_workflow
from orchestrator.cli.opening import opened_store
from orchestrator.cli.outputs import Outputs
from orchestrator.cli.page import page_beside
from orchestrator.cli.preparing import prepare
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.telemetry import open_telemetry
from orchestrator.definition.registry import find_workflow
from orchestrator.lifecycle.events import Observer


async def command(
    observers: Sequence[Observer],
    *,
    workflow: str | None = None,
    run_id: str | None = None,
    json: bool = False,
    config: Path | None = None,
    web: str | None = None,
    **flags: object,
) -> int:
    """Run a workflow: by default one instance, on the embedded sandbox if no tenant is configured.

    Flags win over environment variables, and those over the TOML file. The run is stored with all its settings, so
    `orchestrator resume` continues it after an interruption.

    Examples:
      orchestrator run    (once, on the sandbox)
      orchestrator run --instances 100 --concurrency 20 --on-success teardown
      orchestrator run --id onboarding-4711a    (again after a crash: the same run goes on)
      orchestrator run --data users.csv --concurrency 5    (one instance for each row)
      orchestrator run --region EU    (with PINGONE_CLIENT_ID and so on exported)
    """
    found = find_workflow(workflow or default_workflow())
    resolver = Resolver(flags, config)
    engine, wanted = resolver.engine().value, resolver.run().value
    resolver.check_tables()
    outputs = Outputs(wanted.report, wanted.csv, wanted.junit)
    outputs.check()
    scenario = wanted.scenario()
    vault = resolver.vault(create=True)
    many = engine.is_spread or (wanted.data is not None and wanted.instances != 1)
    display = display_of(found, scenario, json, found.name, many=many)
    async with (
        open_telemetry(resolver.telemetry().value) as telemetry,
        opened_store(engine) as store,
        page_beside(web, resolver, store, vault, telemetry) as page,
    ):
        prepared = await prepare(resolver, found, wanted, store, vault)
        options = options_of(resolver, engine, vault, (*display.observers, *observers), telemetry, found)
        opened = prepared.open(store, options, run_id=run_id, reports=outputs.stored(), **engine.workers())
        return await drive(
            opened, found, store, options, display, telemetry, as_json=json, suffix=resolver.suffix, outputs=outputs, page=page
        )
