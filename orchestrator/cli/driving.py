"""Drives a run to its end from the command line: display, signals, summary, reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import attrs

from orchestrator.api import AnyRun
from orchestrator.cli.console import is_terminal, stderr, stdout
from orchestrator.cli.display.base import Display, Silent
from orchestrator.cli.display.load_lines import LoadLines
from orchestrator.cli.display.load_view import LoadView
from orchestrator.cli.display.single import LiveTable, Plain
from orchestrator.cli.interrupt import watch_signals
from orchestrator.cli.outputs import Outputs
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.settings import EngineSettings
from orchestrator.cli.telemetry import Telemetry
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.driving.options import Options
from orchestrator.errors import ClusterError, LeaseExpiredError, StoreError, StoreLostError
from orchestrator.inspection.result import RunResult
from orchestrator.inspection.stored_run import AnyStoredRun, StoredRun
from orchestrator.inspection.summary import Summary, summarise
from orchestrator.lifecycle.effects import effects_of
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.report import json as json_report
from orchestrator.report import text
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.verdict import exit_code
from orchestrator.storage.base import SILENT_S, Store
from orchestrator.storage.encryption import Vault

if TYPE_CHECKING:
    from orchestrator.web.drives import Drives


REQUESTS_EVERY_S = 0.5
"""How often the display looks for requests of others."""


def options_of(
    resolver: Resolver,
    engine: EngineSettings,
    vault: Vault,
    observers: Sequence[Observer],
    telemetry: Telemetry,
    workflow: AnyWorkflow | None = None,
) -> Options:
    """How this process drives a run.

    Args:
        workflow: The workflow of the run; ``None``: runs of several workflows follow, each with a tracer of its own.
    """
    options = Options(
        lease_s=engine.lease,
        grace_s=engine.grace,
        directory=resolver.directory,
        vault=vault,
        observers=(*observers, *telemetry.observers),
    )
    tracer = None if workflow is None else telemetry.tracer(workflow)
    if engine.is_spread:
        return attrs.evolve(options, worker_traces=telemetry.worker_traces(tracer))
    return attrs.evolve(options, tracer=tracer)


def display_of(workflow: AnyWorkflow, scenario: Scenario, as_json: bool, title: str, *, many: bool = False) -> Display:
    """The display that suits the run and the output.

    Args:
        many: Show the view of a load run, however few instances there are.
    """
    if as_json:
        return Silent()
    if many or scenario.total != 1 or scenario.rounds != 1:
        return LoadView(workflow, title) if is_terminal() else LoadLines(workflow)
    return LiveTable(workflow, title) if is_terminal() else Plain(workflow)


def finishing(store: Store, grace_s: float) -> str:
    """What happens after the first signal."""
    if store.silent_s < SILENT_S:
        return f"finishing attempts in flight (up to {grace_s:g} s)"
    return (
        f"{store.where} has not answered for {store.silent_s:.0f} s; the run stops when it answers, or after {store.timeout_s:g} s "
        "(nothing is lost)"
    )


class _Control:
    """Handles signals: before the run exists they end the program; then the first one drains the run, and the second cancels it,
    also while the database does not answer."""

    def __init__(self, display: Display, store: Store, grace_s: float, tell: Callable[[str], None]) -> None:
        self.run: AnyRun | None = None
        self.scope = anyio.CancelScope()
        self.gave_up = False
        """Whether the run has stopped without its database."""
        self._display = display
        self._store = store
        self._grace_s = grace_s
        self._tell = tell
        self._told = 0
        """Requests of others that were said."""

    def drain(self, name: str) -> None:
        if self.run is None:
            self.scope.cancel()
            return
        self._display.say(f"{name}: {finishing(self._store, self._grace_s)}; press again to stop at once")
        self.run.stop()

    async def watch_reader(self) -> None:
        """Stop when stdout is closed, as by `orchestrator run | head`."""
        await self._display.unread.wait()
        if self.run is not None:
            stderr().print(f"the output was closed: stopping; to continue: orchestrator resume {self.run.id}")
            self.run.stop()

    async def watch_requests(self) -> None:
        """Say what others ask for; cancelled when the run has ended."""
        while True:
            self.tell_requests()
            await anyio.sleep(REQUESTS_EVERY_S)

    def tell_requests(self) -> None:
        """Say what others have asked for since the last time."""
        requests = self.run.requests if self.run is not None else ()
        for request in requests[self._told :]:
            self._display.say(request)
            self._tell(request)
        self._told = len(requests)

    def cancel(self, name: str) -> None:
        self._display.say(f"{name}: stopping at once")
        self.gave_up = self._store.give_up() or self.gave_up
        if self.run is None:
            self.scope.cancel()
        else:
            self.run.cancel()


async def drive(
    opened: AbstractAsyncContextManager[AnyRun],
    workflow: AnyWorkflow,
    store: Store,
    options: Options,
    display: Display,
    telemetry: Telemetry,
    *,
    as_json: bool,
    suffix: str | None,
    cleaning: bool = False,
    again: str | None = None,
    outputs: Outputs | None = None,
    page: Drives | None = None,
) -> int:
    """Drive a run to its end, show it, and write its reports; the exit code.

    Args:
        page: The runs that a web page of this process controls.
        outputs: Reports that this command asks for, beside those that the run has stored.
    """
    control = _Control(display, store, options.grace_s, telemetry.requested)
    failure: Exception | None = None
    result = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(watch_signals, control.drain, control.cancel))
        with control.scope:
            try:
                async with opened as run:
                    control.run = run
                    if page is not None:
                        page.adopt(run)
                    display.attach(run)
                    telemetry.attach(run)
                    tasks.start_soon(control.watch_reader)
                    tasks.start_soon(display.keep_up)
                    tasks.start_soon(telemetry.keep_up)
                    tasks.start_soon(control.watch_requests)
                    with display:
                        heading = f"run {run.id}{' (started before)' if run.existed else ''}"
                        display.say("; ".join((heading, *workflow.notices(), *telemetry.notices)))
                        if outputs is not None and outputs.stored():
                            await store.set_reports(run.id, {**(await store.run(run.id)).reports, **outputs.stored()})
                        result = await run.wait()
                        control.tell_requests()
                        telemetry.ended(result)
            except Exception as error:  # noqa: BLE001  # raised below, outside the task group, which would wrap it in an ExceptionGroup
                failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        if control.run is not None:
            await _add_remedy(failure, control.run, workflow, store, options, suffix)
        telemetry.failed(failure)
        if control.gave_up and isinstance(failure, StoreError):
            stderr().print("interrupted: " + "; ".join([str(failure), *getattr(failure, "__notes__", ())]))
            return ExitCode.INTERRUPTED
        raise failure
    if result is None:
        display.say(
            "interrupted before anything was started" + (f"; to try again: orchestrator {again}{suffix or ''}" if again else "")
        )
        return ExitCode.INTERRUPTED
    if result.part_done and result.status is RunStatus.RUNNING:
        return _print_part_done(result, as_json, suffix)
    assert options.vault is not None
    stored: AnyStoredRun = await StoredRun.load(workflow, result.run_id, store=store, vault=options.vault)
    code = await _show_end(stored, display, as_json=as_json, suffix=suffix, cleaning=cleaning)
    await telemetry.linger(display.say)
    return code


async def _add_remedy(
    failure: Exception, run: AnyRun, workflow: AnyWorkflow, store: Store, options: Options, suffix: str | None
) -> None:
    """Add the command that continues or cleans up to an error of the store."""
    if isinstance(failure, StoreLostError):
        await _list_effects(workflow, store, options, run.id)
        copy = await store.rescue()
        failure.add_note(
            f"its data was copied to {copy}; to remove the objects of the run: orchestrator cleanup {run.id} --store {copy}"
        )
    elif isinstance(failure, StoreError | LeaseExpiredError | ClusterError) and suffix is not None:
        failure.add_note(f"to continue: orchestrator {run.command}{suffix}")


async def _show_end(run: AnyStoredRun, display: Display, *, as_json: bool, suffix: str | None, cleaning: bool) -> int:
    """Print the summary of a run that has stopped, and write its reports; the exit code."""
    summary = await summarise(run)
    code = exit_code(summary, cleaning=cleaning)
    print_summary(summary, code, as_json, suffix)
    if not cleaning:
        await write_reports(run, summary, display)
    return code


def _print_part_done(result: RunResult, as_json: bool, suffix: str | None) -> int:
    """Our shards are done, and other processes drive the rest: the one that finishes last prints the summary."""
    if as_json:
        stdout().print(json_report.dumps({"run": result.run_id, "status": result.status.value, "part_done": True}))
    else:
        where = f"orchestrator show {result.run_id}{suffix or ''}"
        stdout().print(f"This process has finished its part of run {result.run_id}; other processes drive the rest: {where}")
    return ExitCode.SUCCESS


async def _list_effects(workflow: AnyWorkflow, store: Store, options: Options, run_id: str) -> None:
    """Print everything that exists, or may exist, because of a run, on stderr: its store is lost."""
    assert options.vault is not None
    run = await StoredRun.load(workflow, run_id, store=store, vault=options.vault)
    async for instance in run.instances():
        for _, effect in effects_of(workflow, instance):
            stderr().print(f"  {instance.id}  {effect.kind} {effect.name}{f' ({effect.id})' if effect.id else ''}")


async def write_reports(run: AnyStoredRun, summary: Summary, display: Display) -> None:
    """Write the reports that are stored with a run, and say where they are."""
    for path in await Outputs.of(run.record.reports).write(run, summary):
        display.say(f"written: {path}")


def print_summary(summary: Summary, code: int, as_json: bool, suffix: str | None, heading: str = "") -> None:
    """Print how a run ended, as text or as JSON."""
    console = stdout()
    if as_json:
        console.print(json_report.dumps(json_report.document(summary, code, suffix)))
        return
    console.print(heading)
    for line in text.lines(summary, suffix):
        console.print(line)
