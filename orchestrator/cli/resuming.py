"""Resumes all unfinished runs (``resume --all``), and prints a line for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import attrs
from anyio.streams.memory import MemoryObjectSendStream

from orchestrator.cli.console import stderr, stdout
from orchestrator.cli.display.base import Silent
from orchestrator.cli.display.single import Plain
from orchestrator.cli.driving import finishing, options_of, write_reports
from orchestrator.cli.interrupt import watch_signals
from orchestrator.cli.opening import opened_store
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.telemetry import open_telemetry
from orchestrator.definition.registry import find_workflow, workflow_names
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.errors import LeaseHeldError, StoreError
from orchestrator.inspection.stored_run import AnyStoredRun, StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import RunStatus
from orchestrator.report import json as json_report
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.text import counted
from orchestrator.report.verdict import exit_code
from orchestrator.resuming import Resumed, Resumption, resume_all
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault

_WORST = (ExitCode.INTERRUPTED, ExitCode.USAGE, ExitCode.LEFTOVERS, ExitCode.THRESHOLD, ExitCode.FAILED)
"""The exit code of several runs is the first of these that one of them has."""


async def resume_every(
    observers: Sequence[Observer], concurrency: int, as_json: bool, config: Path | None, flags: Mapping[str, object]
) -> int:
    """Resume all unfinished runs that no other process drives, each in this process; the exit code.

    Args:
        concurrency: Runs at once.
    """
    resolver = Resolver(flags, config)
    engine = attrs.evolve(resolver.engine().value, processes=1, cluster=None)
    async with open_telemetry(resolver.telemetry().value) as telemetry, opened_store(engine, create=False) as store:
        vault = resolver.vault()
        workflows = {name: find_workflow(name) for name in workflow_names()}
        changes = {name: resolver.renewed(workflow) for name, workflow in workflows.items()}
        options = partial(options_of, resolver, engine, vault, observers, telemetry)

        for notice in telemetry.notices:
            stderr().print(notice)

        def on_end(one: Resumed) -> None:
            if one.result is not None:
                telemetry.ended(one.result)
            telemetry.detach(one.run_id)
            ends.send_nowait(one)

        # Each run is shown at its end. No more items than runs.
        ends, ended = anyio.create_memory_object_stream[Resumed](math.inf)
        rows: list[JSONObject] = []
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks, ends, ended:
            try:
                opened = resume_all(
                    workflows.values(),
                    store=store,
                    concurrency=concurrency,
                    changes=changes,
                    options=options,
                    on_begin=telemetry.attach,
                    on_end=on_end,
                )
                async with opened as resumption:
                    tasks.start_soon(partial(_watch, resumption, store, engine.grace))
                    tasks.start_soon(_close_at_end, resumption, ends)
                    tasks.start_soon(telemetry.keep_up)
                    rows = [await _shown(one, workflows, store, vault, as_json) async for one in ended]
                    await resumption.wait()
            except Exception as error:  # noqa: BLE001  # raised below, outside the task group, which would wrap it in an ExceptionGroup
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        code = _show_end(rows, as_json)
        await telemetry.linger(stderr().print)
    return code


def _show_end(rows: Sequence[JSONObject], as_json: bool) -> ExitCode:
    codes = {row["exit_code"] for row in rows}
    code = next((code for code in _WORST if code in codes), ExitCode.SUCCESS)
    if as_json:
        stdout().print(json_report.dumps({"runs": rows, "exit_code": code}))
    elif not rows:
        stdout().print("There is no unfinished run; `orchestrator list` shows all runs.")
    return code


async def _watch(resumption: Resumption, store: Store, grace_s: float) -> None:
    """The first signal lets attempts in flight finish, the second stops at once."""

    def drain(name: str) -> None:
        stderr().print(f"{name}: {finishing(store, grace_s)}; press again to stop at once")
        resumption.stop()

    def cancel(name: str) -> None:
        store.give_up()
        resumption.cancel()

    await watch_signals(drain, cancel)


async def _close_at_end(resumption: Resumption, ends: MemoryObjectSendStream[Resumed]) -> None:
    with suppress(StoreError):  # raised where the results are used
        await resumption.wait()
    ends.close()


async def _shown(one: Resumed, workflows: Mapping[str, AnyWorkflow], store: Store, vault: Vault, as_json: bool) -> JSONObject:
    """The data of a run for JSON; as text, print its line. Its reports are written."""
    row: JSONObject = {"run": one.run_id, "workflow": one.workflow}
    if one.result is None:
        said = "not resumed: the command was stopped before" if one.error is None else str(one.error)
        # Another process that drives a run is no failure.
        held = isinstance(one.error, LeaseHeldError)
        code = ExitCode.INTERRUPTED if one.error is None else ExitCode.SUCCESS if held else ExitCode.USAGE
        row |= {"status": None, "counts": {}, "error": said, "exit_code": code}
    else:
        run: AnyStoredRun = await StoredRun.load(workflows[one.workflow], one.run_id, store=store, vault=vault)
        summary = await summarise(run)
        code, said = exit_code(summary), f"{one.result.status.value.replace('_', ' ')}, {counted(summary)}"
        counts = {status.value: number for status, number in summary.counts.items()}
        row |= {"status": one.result.status.value, "counts": counts, "error": None, "exit_code": code}
        if one.result.status is RunStatus.FINISHED:
            await write_reports(run, summary, Silent() if as_json else Plain(run.workflow))
    if not as_json:
        stdout().print(f"{one.run_id}  {said}")
    return row
