"""The command ``show``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.cli.console import stdout
from orchestrator.cli.naming import named_or_newest, parse_instance
from orchestrator.cli.opening import opened_store
from orchestrator.cli.outputs import check_writable, write_files
from orchestrator.cli.resolver import Resolver
from orchestrator.errors import ConfigurationError, UnknownRunError
from orchestrator.inspection.explain import explain
from orchestrator.inspection.standing import local_time, standing
from orchestrator.inspection.stored_run import AnyStoredRun, StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.lifecycle.events import Observer
from orchestrator.report import instance as instance_report
from orchestrator.report import json as json_report
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.text import lines
from orchestrator.report.verdict import exit_code


async def command(
    observers: Sequence[Observer],
    *,
    id: str | None = None,
    har: str | None = None,
    json: bool = False,
    config: Path | None = None,
    **flags: object,
) -> int:
    """Show a run, or one instance of it: history, status, created objects, the next step and its reason.

    Without an id, the newest run. An instance is named by the run and its number.

    Examples:
      orchestrator show 261123-k7m3qp
      orchestrator show 261123-k7m3qp-0    (the history of the first instance)
      orchestrator show 261123-k7m3qp-17 --har 17.har    (its last requests before it failed, secrets masked)
    """
    resolver = Resolver(flags, config)
    run_id, number = parse_instance(id) if id is not None else (None, None)
    if har is not None:
        check_writable("har", Path(har))
    async with opened_store(resolver.engine().value, create=False) as store:
        record = await named_or_newest(store, run_id)
        run: AnyStoredRun = StoredRun.of(record, store, resolver.vault())
        if number is not None:
            return await _show_instance(run, number, har, as_json=json)
        if har is not None:
            raise ConfigurationError("--har needs an instance: `orchestrator show RUN-NUMBER --har FILE`")
        return await _show_run(run, resolver.suffix, as_json=json)


async def _show_instance(run: AnyStoredRun, number: int, har: str | None, *, as_json: bool) -> int:
    found = await explain(run, number)
    if found is None:
        raise UnknownRunError(f"instance {run.record.id}-{number}", run.store.where)
    if har is not None:
        if not found.exchanges:
            raise ConfigurationError(f"no request of {found.instance.id} is stored: {found.why_no_exchanges}")
        write_files({Path(har): json_report.har(found.exchanges)})
    if as_json:
        stdout().print(json_report.dumps(instance_report.document(found)))
    else:
        for line in instance_report.lines(run.workflow, found):
            stdout().print(line)
    return ExitCode.SUCCESS


async def _show_run(run: AnyStoredRun, suffix: str | None, *, as_json: bool) -> int:
    summary = await summarise(run)
    head = await _head(run)
    places = await run.places()
    if as_json:
        data = json_report.document(summary, exit_code(summary), suffix) | {"head": head, "places": dict(places)}
        stdout().print(json_report.dumps(data))
        return ExitCode.SUCCESS
    console = stdout()
    for name, value in head.items():
        console.print(f"{name:<10} {value}")
    if sum(places.values()) > 1:
        console.print("\nWhere its instances are")
        for place, number in sorted(places.items(), key=lambda item: run.workflow.order(item[0])):
            console.print(f"  {number:>6}  {place}")
    console.print()
    for line in lines(summary, suffix):
        console.print(line)
    return ExitCode.SUCCESS


async def _head(run: AnyStoredRun) -> Mapping[str, str]:
    """The settings and the status of the run."""
    record = run.record
    return {
        "status": standing(record, await run.store.shards(record.id)),
        "started": local_time(record.created_at),
        "workflow": f"{record.workflow} version {record.version}",
        "scenario": record.scenario.describe(),
        "policies": f"on failure {record.on_failure.value}, on success {record.on_success.value}",
        "rates": ", ".join(f"{group} {rate:g}/s" for group, rate in record.rates.items()) or "no limits",
        "settings": ", ".join(f"{name}={value}" for name, value in run.shown_settings().items()) or "none",
    }
