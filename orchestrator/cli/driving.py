"""The commands that drive a run: run, load, resume, retry, cleanup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs

from orchestrator import api
from orchestrator.api import Run
from orchestrator.cli.console import is_terminal, stderr, stdout
from orchestrator.cli.display import Display, LiveTable, Plain, Silent
from orchestrator.cli.interrupt import watch_signals
from orchestrator.cli.live import LoadLines, LoadView
from orchestrator.cli.outputs import Outputs
from orchestrator.cli.parameters import Resolver, parse_instance, parse_run
from orchestrator.definition.registry import find_workflow, workflow_names
from orchestrator.definition.workflow import Workflow
from orchestrator.driving.runner import Mode, Options
from orchestrator.errors import ConfigurationError, LeaseExpiredError, SettingError, StoreError, StoreLostError
from orchestrator.inspection.reading import result_of, run_of, stored_instances, stored_settings
from orchestrator.lifecycle.effects import effects_of
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.estimate import estimate
from orchestrator.report import json as json_report
from orchestrator.report import text
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.summary import Summary, summarise
from orchestrator.settings import settings_of
from orchestrator.storage import open_store
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault


def default_workflow() -> str:
    """The workflow that is meant when none is named: the only one there is.

    Raises:
        ConfigurationError: There are several, or none.
    """
    names = workflow_names()
    if len(names) != 1:
        raise ConfigurationError(f"name a workflow: {', '.join(names) or 'none is installed'}")
    return names[0]


async def run(
    observers: Sequence[Observer], *, workflow: str | None = None, json: bool = False, config: Path | None = None, **flags: Any
) -> int:
    """Run a workflow: by default one instance, on the embedded sandbox if no tenant is configured.

    Flags win over environment variables, those over the TOML file. The run is stored with all its settings:
    whatever interrupts it, `orchestrator resume` goes on.

    Examples:
      orchestrator run    (once, on the sandbox)
      orchestrator run --instances 100 --concurrency 20 --on-success teardown
      orchestrator run --region EU    (with PINGONE_CLIENT_ID and so on exported)
    """
    found = find_workflow(workflow or default_workflow())
    resolver = Resolver(flags, config)
    engine, wanted, settings = resolver.engine().value, resolver.run().value, resolver.workflow(found).value
    resolver.check_tables()
    outputs = Outputs(wanted.report, wanted.csv, wanted.junit)
    outputs.check()
    scenario = wanted.scenario()
    vault = resolver.vault(create=True)
    display = _display(found, scenario, json, found.name)
    async with open_store(engine.url) as store:
        options = _options(resolver, engine, vault, (*display.observers, *observers))
        opened = api.start(
            found,
            settings,
            store=store,
            scenario=scenario,
            on_failure=wanted.on_failure,
            on_success=wanted.on_success,
            rates=wanted.rates,
            recorded=wanted.record,
            reports=outputs.stored(),
            options=options,
        )
        return await _drive(opened, found, store, options, display, as_json=json, suffix=resolver.suffix)


async def load(
    observers: Sequence[Observer],
    *,
    scenario: str | None = None,
    workflow: str | None = None,
    json: bool = False,
    config: Path | None = None,
    **flags: Any,
) -> int:
    """Run many instances by a scenario, and measure them: closed, by arrival rate, or as a soak.

    The scenario comes from flags, and from the table [load] of the TOML file SCENARIO; flags win. It is stored with the
    run: whatever interrupts it, `orchestrator resume` goes on with what is left of it. What the instances made is torn
    down unless you ask to keep it.

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
    display = _display(found, asked, json, found.name, many=True)
    async with open_store(engine.url) as store:
        if asked.reuse is None:
            settings = resolver.workflow(found).value
        else:
            settings = await _settings_of_used(found, store, vault, resolver, asked.reuse, flags)
            display.say(f"on the instances of run {asked.reuse}, with its settings")
        rates = found.rates(settings) if wanted.rates is None else wanted.rates
        api.check(found, asked, rates, wanted.threshold, wanted.record)
        if (needs := estimate(found, asked, rates, wanted.on_success)) is not None:
            display.say(str(needs))
        options = _options(resolver, engine, vault, (*display.observers, *observers))
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
            options=options,
        )
        return await _drive(opened, found, store, options, display, as_json=json, suffix=resolver.suffix)


async def _settings_of_used(
    found: Workflow[Any, Any], store: Store, vault: Vault, resolver: Resolver, use: str, flags: Mapping[str, Any]
) -> Any:
    """The settings of the run whose instances are used again: they live where it made them."""
    for s in settings_of(found.settings):
        if flags.get(s.name) is not None and not s.renewable:
            raise SettingError("reuse", f"takes the settings of run {use}: {s.flag} cannot change them")
    stored = stored_settings(found, await run_of(found, store, use), vault)
    changes = resolver.renewed(found)
    return attrs.evolve(stored, **changes) if changes else stored


async def resume(
    observers: Sequence[Observer], *, run: str | None = None, json: bool = False, config: Path | None = None, **flags: Any
) -> int:
    """Go on with an interrupted run: what was in flight first, then what was not started yet.

    Without RUN, the newest run that is not finished. Nothing is created twice: a step whose answer was lost is
    looked for before it is repeated. Needs no settings: the run has them. It writes the reports that the run was
    started with, and those that are named here.

    Examples:
      orchestrator resume
      orchestrator resume 261123-k7m3qp
      orchestrator resume --junit load.xml
      orchestrator resume 261123-k7m3qp --client-secret-file new-secret    (the worker's secret was changed meanwhile)
    """
    named = parse_run(run) if run is not None else None
    return await _again(api.resume, observers, named, json, config, flags, mode=Mode.RESUME)


async def retry(
    observers: Sequence[Observer], *, what: str | None = None, json: bool = False, config: Path | None = None, **flags: Any
) -> int:
    """Have failed instances of a finished run go on from the step that failed: those that were kept as they are.

    Without an id, those of the newest run. What went wrong was put right meanwhile, you think; their attempts are counted from one
    again. Nothing is created twice: if the step that failed may have had its effect, that is looked for first.

    Examples:
      orchestrator retry 261123-k7m3qp
      orchestrator retry 261123-k7m3qp-17    (only this instance)
      orchestrator retry --client-secret-file new-secret    (the worker's secret was changed meanwhile)
    """
    named, number = parse_instance(what) if what is not None else (None, None)
    how = partial(api.retry, number=number)
    return await _again(how, observers, named, json, config, flags, mode=Mode.RETRY, number=number)


async def cleanup(
    observers: Sequence[Observer], *, run: str | None = None, json: bool = False, config: Path | None = None, **flags: Any
) -> int:
    """Remove everything that a run has made, whatever its state: completed, failed, interrupted, with leftovers.

    Without RUN, the newest run. Instances that were not started stay so. What cannot be removed is listed, and
    the exit code is 3.

    Examples:
      orchestrator cleanup
      orchestrator cleanup 261123-k7m3qp
    """
    named = parse_run(run) if run is not None else None
    return await _again(api.cleanup, observers, named, json, config, flags, mode=Mode.CLEAN_UP)


_VERBS = {Mode.RESUME: "resume", Mode.RETRY: "retry", Mode.CLEAN_UP: "cleanup"}


async def _again(
    how: Any,
    observers: Sequence[Observer],
    named: str | None,
    as_json: bool,
    config: Path | None,
    flags: Any,
    *,
    mode: Mode,
    number: int | None = None,
) -> int:
    resolver = Resolver(flags, config)
    engine, outputs = resolver.engine().value, Outputs.of(flags)
    outputs.check()
    async with open_store(engine.url, create=False) as store:
        record = await _named_run(store, named, mode)
        if record is None:
            return _nothing_to_do(as_json)
        vault = resolver.vault()
        found = find_workflow(record.workflow)
        if record.status is RunStatus.FINISHED and (why := await _nothing_left(store, record, mode, number)):
            if outputs.stored():
                await store.set_reports(record.id, {**record.reports, **outputs.stored()})
                record = await store.run(record.id)
            return await _already_finished(found, store, vault, record, as_json, resolver.suffix, why)
        cleaning = mode is Mode.CLEAN_UP or record.status is RunStatus.CLEANING_UP
        display = _display(found, record.scenario, as_json, f"{record.workflow} {record.id}")
        options = _options(resolver, engine, vault, (*display.observers, *observers))
        opened = how(found, record.id, store=store, changes=resolver.renewed(found), options=options)
        again = f"{_VERBS[mode]} {record.id}{'' if number is None else f'-{number}'}"
        return await _drive(
            opened,
            found,
            store,
            options,
            display,
            as_json=as_json,
            suffix=resolver.suffix,
            cleaning=cleaning,
            again=again,
            outputs=outputs,
        )


async def _named_run(store: Store, given: str | None, mode: Mode) -> RunRecord | None:
    if given is not None:
        return await store.run(given)
    runs = await store.runs(1, frozenset(RunStatus) - {RunStatus.FINISHED} if mode is Mode.RESUME else None)
    return runs[0] if runs else None


async def _nothing_left(store: Store, record: RunRecord, mode: Mode, number: int | None) -> str:
    """Why there is nothing to do for a run that is finished, if so."""
    failed = (await result_of(store, record)).of(Status.FAILED)
    if mode is Mode.RESUME:
        kept = f" {failed} failed and can be retried: orchestrator retry {record.id}" if failed else ""
        return f"Run {record.id} is finished: there is nothing to go on with.{kept}"
    if mode is Mode.RETRY and number is None and not failed:
        return f"Run {record.id} has no instance that failed and was kept: there is nothing to retry."
    return ""


def _nothing_to_do(as_json: bool) -> int:
    if as_json:
        stdout().print("null")
    else:
        stdout().print("There is no run to go on with; `orchestrator list` shows all runs.")
    return ExitCode.SUCCESS


async def _already_finished(
    found: Workflow[Any, Any], store: Store, vault: Any, record: RunRecord, as_json: bool, suffix: str | None, why: str
) -> int:
    result = await result_of(store, record)
    summary = await summarise(found, store, vault, record, result)
    code = summary.exit_code()
    _print(summary, code, as_json, suffix, why)
    # Whoever finished it may have been killed before these were written.
    await _write_reports(found, store, vault, record, summary, Silent() if as_json else Plain(found))
    return code


def _options(resolver: Resolver, engine: Any, vault: Any, observers: Sequence[Observer]) -> Options:
    return Options(lease_s=engine.lease, grace_s=engine.grace, directory=resolver.directory, vault=vault, observers=observers)


def _display(workflow: Workflow[Any, Any], scenario: Scenario, as_json: bool, title: str, *, many: bool = False) -> Display:
    if as_json:
        return Silent()
    if many or scenario.total != 1 or scenario.rounds != 1:
        return LoadView(workflow, title) if is_terminal() else LoadLines(workflow)
    return LiveTable(workflow, title) if is_terminal() else Plain(workflow)


class _Control:
    """What signals do: before the run is there they end the program, then they drain, then they cancel."""

    def __init__(self, display: Display, grace_s: float) -> None:
        self.run: Run[Any] | None = None
        self.scope = anyio.CancelScope()
        self.signalled = False
        self._display = display
        self._grace_s = grace_s

    def drain(self, name: str) -> None:
        self.signalled = True
        if self.run is None:
            self.scope.cancel()
            return
        self._display.say(f"{name}: finishing attempts in flight (up to {self._grace_s:g} s); once more to stop at once")
        self.run.stop()

    async def watch_reader(self) -> None:
        """What nobody reads is not gone on with: `orchestrator run | head` is the user's way to end it."""
        await self._display.unread.wait()
        if self.run is not None:
            stderr().print(f"nobody reads the output any more: stopping; to go on with it: orchestrator resume {self.run.id}")
            self.run.stop()

    def cancel(self, name: str) -> None:
        self._display.say(f"{name}: stopping at once")
        if self.run is None:
            self.scope.cancel()
        else:
            self.run.cancel()


async def _drive(
    opened: AbstractAsyncContextManager[Run[Any]],
    workflow: Workflow[Any, Any],
    store: Store,
    options: Options,
    display: Display,
    *,
    as_json: bool,
    suffix: str | None,
    cleaning: bool = False,
    again: str | None = None,
    outputs: Outputs | None = None,
) -> int:
    """Drive a run to its end, show it, and write its reports; the exit code.

    Args:
        outputs: Reports that this command asks for, beside those that the run has stored.
    """
    control = _Control(display, options.grace_s)
    failure: Exception | None = None
    result = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(watch_signals, control.drain, control.cancel))
        with control.scope:
            try:
                async with opened as run:
                    control.run = run
                    display.attach(run)
                    tasks.start_soon(control.watch_reader)
                    tasks.start_soon(display.keep_up)
                    with display:
                        display.say("; ".join((f"run {run.id}", *workflow.notices())))
                        if outputs is not None and outputs.stored():
                            stored = await store.run(run.id)
                            await store.set_reports(run.id, {**stored.reports, **outputs.stored()})
                        result = await run.wait()
            except Exception as error:  # noqa: BLE001  # told bare below, not as the group that the task group makes of it
                failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        if isinstance(failure, StoreLostError) and control.run is not None:
            await _list_effects(workflow, store, options, control.run.id)
            copy = await store.rescue()
            failure.add_note(
                f"a copy of all that it knew: {copy}; to remove what it made: orchestrator cleanup {control.run.id} --store {copy}"
            )
        elif isinstance(failure, StoreError | LeaseExpiredError) and control.run is not None and suffix is not None:
            failure.add_note(f"to go on with it: orchestrator {control.run.command}{suffix}")
        raise failure
    if result is None:
        display.say(
            "interrupted before anything was started" + (f"; to try again: orchestrator {again}{suffix or ''}" if again else "")
        )
        return ExitCode.INTERRUPTED
    assert options.vault is not None
    record = await store.run(result.run_id)
    summary = await summarise(workflow, store, options.vault, record, result)
    code = summary.exit_code(cleaning=cleaning)
    _print(summary, code, as_json, suffix)
    if not cleaning:
        await _write_reports(workflow, store, options.vault, record, summary, display)
    return code


async def _list_effects(workflow: Workflow[Any, Any], store: Store, options: Options, run_id: str) -> None:
    """One line on stderr for everything that exists, or may exist, because of a run: nobody will find it in its store."""
    assert options.vault is not None
    async for instance in stored_instances(workflow, store, options.vault, run_id):
        for _, effect in effects_of(workflow, instance):
            stderr().print(f"  {instance.id}  {effect.kind} {effect.name}{f' ({effect.id})' if effect.id else ''}")


async def _write_reports(
    workflow: Workflow[Any, Any], store: Store, vault: Vault, record: RunRecord, summary: Summary, display: Display
) -> None:
    for path in await Outputs.of(record.reports).write(workflow, store, vault, record, summary):
        display.say(f"written: {path}")


def _print(summary: Any, code: int, as_json: bool, suffix: str | None, heading: str = "") -> None:
    console = stdout()
    if as_json:
        console.print(json_report.dumps(json_report.document(summary, code, suffix)))
        return
    console.print(heading)
    for line in text.lines(summary, suffix):
        console.print(line)
