"""Continues a stored run: the shared part of ``resume``, ``retry`` and ``cleanup``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import attrs

from orchestrator.api import AnyRun
from orchestrator.cli.console import stdout
from orchestrator.cli.display.base import Silent
from orchestrator.cli.display.single import Plain
from orchestrator.cli.driving import display_of, drive, options_of, print_summary, write_reports
from orchestrator.cli.opening import opened_store
from orchestrator.cli.outputs import Outputs
from orchestrator.cli.page import page_beside
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.telemetry import open_telemetry
from orchestrator.definition.registry import find_workflow
from orchestrator.driving.plan import Mode, plan_for
from orchestrator.inspection.result import result_of
from orchestrator.inspection.stored_run import AnyStoredRun, StoredRun, newest_runs
from orchestrator.inspection.summary import summarise
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.verdict import exit_code
from orchestrator.storage.base import Store
from orchestrator.storage.records import Shard


async def continue_run(
    how: Callable[..., AbstractAsyncContextManager[AnyRun]],
    observers: Sequence[Observer],
    named: str | None,
    as_json: bool,
    config: Path | None,
    flags: Mapping[str, object],
    *,
    mode: Mode,
    number: int | None = None,
    web: str | None = None,
    here: bool = False,
) -> int:
    """Resume, retry or clean up a stored run, or one instance of it; the exit code.

    Args:
        how: ``resume``, ``retry`` or ``cleanup`` of the API.
        here: Drive it in this process, even if the settings name workers.
    """
    resolver = Resolver(flags, config)
    engine, outputs = resolver.engine().value, Outputs.of(flags)
    engine = attrs.evolve(engine, processes=1, cluster=None) if here else engine
    outputs.check()
    async with open_telemetry(resolver.telemetry().value) as telemetry, opened_store(engine, create=False) as store:
        record = await _record(store, named, mode, outputs)
        if record is None:
            return _nothing_to_do(as_json)
        vault = resolver.vault()
        found = find_workflow(record.workflow)
        if record.status is RunStatus.FINISHED and (why := await _nothing_left(store, record, mode, number)):
            if outputs.stored():
                await store.set_reports(record.id, {**record.reports, **outputs.stored()})
            stored: AnyStoredRun = await StoredRun.load(found, record.id, store=store, vault=vault)
            return await _already_finished(stored, as_json, resolver.suffix, why)
        cleaning = plan_for(mode, record.status).mode in {Mode.CLEAN_UP, Mode.ROLL_BACK}
        many = engine.is_spread
        display = display_of(found, record.scenario, as_json, f"{record.workflow} {record.id}", many=many)
        options = options_of(resolver, engine, vault, (*display.observers, *observers), telemetry, found)
        changes = resolver.renewed(found)
        opened = how(found, record.id, store=store, changes=changes, **engine.workers(), options=options)
        again = f"{mode.command} {record.id}{'' if number is None else f'-{number}'}"
        if engine.is_spread and (said := few_shards(await store.shards(record.id), engine.processes)):
            display.say(said)
        async with page_beside(web, resolver, store, vault, telemetry) as page:
            return await drive(
                opened,
                found,
                store,
                options,
                display,
                telemetry,
                as_json=as_json,
                suffix=resolver.suffix,
                cleaning=cleaning,
                again=again,
                outputs=outputs,
                page=page,
            )


def few_shards(shards: Sequence[Shard], processes: int) -> str:
    """A line that says why more processes gain nothing, if so.

    Args:
        processes: Worker processes on this machine; 1: those of a cluster.
    """
    left = sum(not shard.done for shard in shards) or len(shards)
    if left >= max(2, processes):
        return ""
    has, drive = ("1 shard", "one process drives it") if left == 1 else (f"{left} shards", f"{left} processes drive them")
    return f"this run has {has} left, so {drive}: a run is split when it is started (--processes, --cluster or --shards)"


async def _record(store: Store, named: str | None, mode: Mode, outputs: Outputs) -> RunRecord | None:
    """The run that is named, or the newest that the command can continue."""
    if named is not None:
        return await store.run(named)
    if (record := next(iter(await newest_runs(store, unfinished=mode is Mode.RESUME)), None)) is not None:
        return record
    newest = next(iter(await newest_runs(store)), None)
    if newest is None:
        return None
    # A kill after the last checkpoint leaves a finished run without its reports.
    wants_reports = bool(outputs.stored()) or not Outputs.of(newest.reports).exist()
    return newest if wants_reports else None


async def _nothing_left(store: Store, record: RunRecord, mode: Mode, number: int | None) -> str:
    """Why there is nothing to do for a run that is finished, if so."""
    failed = (await result_of(store, record)).of(Status.FAILED)
    if mode is Mode.RESUME:
        kept = f" {failed} failed and can be retried: orchestrator retry {record.id}" if failed else ""
        return f"Run {record.id} is finished: there is nothing to resume.{kept}"
    if mode is Mode.RETRY and number is None and not failed:
        return f"Run {record.id} has no instance that failed and was kept: there is nothing to retry."
    return ""


def _nothing_to_do(as_json: bool) -> int:
    if as_json:
        stdout().print("null")
    else:
        stdout().print("There is no run to continue; `orchestrator list` shows all runs.")
    return ExitCode.SUCCESS


async def _already_finished(run: AnyStoredRun, as_json: bool, suffix: str | None, why: str) -> int:
    summary = await summarise(run)
    code = exit_code(summary)
    print_summary(summary, code, as_json, suffix, why)
    # The process that finished the run may have been killed before it wrote them.
    await write_reports(run, summary, Silent() if as_json else Plain(run.workflow))
    return code
