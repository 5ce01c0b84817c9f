"""Resumes every unfinished run of a store, after the restart of a service or of a machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager

import anyio
import attrs

from orchestrator.api import AnyRun, resume
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.driving.options import Options
from orchestrator.errors import SettingError, UnknownWorkflowError
from orchestrator.inspection.result import RunResult
from orchestrator.inspection.stored_run import every_run
from orchestrator.lifecycle.run import UNFINISHED
from orchestrator.settings import RUNS_AT_ONCE
from orchestrator.storage.base import Store
from orchestrator.storage.listing import RunFilter

OptionsFor = Callable[[AnyWorkflow], Options | None]
"""Workflow → how its runs are driven."""


@attrs.frozen(kw_only=True)
class Resumed:
    """The end of one run that :func:`resume_all` has found unfinished."""

    run_id: str
    workflow: str
    result: RunResult | None = None
    """``None``: it was not resumed, or an error stopped it."""
    error: Exception | None = None
    """The error of this run, e.g. a ``LeaseHeldError``: another process drives it. ``None`` without a result: stopped before its turn."""


class Resumption:
    """The unfinished runs of a store, while this process resumes them."""

    def __init__(
        self,
        workflows: Mapping[str, AnyWorkflow],
        store: Store,
        changes: Mapping[str, Mapping[str, object]],
        options: OptionsFor,
        on_begin: Callable[[AnyRun], None],
        on_end: Callable[[Resumed], None] | None,
    ) -> None:
        self._workflows = workflows
        self._store = store
        self._changes = changes
        self._options = options
        self._on_begin = on_begin
        self._on_end = on_end
        self._running: dict[str, AnyRun] = {}
        self._results: list[Resumed] = []
        self._stopping = False
        self._ended = anyio.Event()
        self._error: Exception | None = None

    async def wait(self) -> list[Resumed]:
        """Wait until every run has ended; returns them in the order of their ends. Raises ``StoreError`` if the list of runs cannot
        be read."""
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        return list(self._results)

    def stop(self) -> None:
        """Resume no further run; let attempts in flight finish within the grace period, suspend the rest."""
        self._stopping = True
        for run in self._running.values():
            run.stop()

    def cancel(self) -> None:
        """Suspend everything at once."""
        self._stopping = True
        for run in self._running.values():
            run.cancel()

    async def execute(self, concurrency: int) -> None:
        """Resume the runs, the oldest first; errors are kept for :meth:`wait`."""
        try:
            wanted = RunFilter(statuses=UNFINISHED)
            found = iter([(run.id, run.workflow) async for run in every_run(self._store, wanted)][::-1])
            async with anyio.create_task_group() as tasks:
                for number in range(concurrency):
                    tasks.start_soon(self._work, found, name=f"resume {number}")
        except Exception as error:  # noqa: BLE001  # raised to the waiting caller
            self._error = error
        finally:
            self._ended.set()

    async def _work(self, found: Iterator[tuple[str, str]]) -> None:
        for run_id, workflow in found:
            ended = Resumed(run_id=run_id, workflow=workflow)
            if not self._stopping:
                ended = await self._resumed(ended)
            self._results.append(ended)
            if self._on_end is not None:
                self._on_end(ended)

    async def _resumed(self, one: Resumed) -> Resumed:
        workflow = self._workflows.get(one.workflow)
        if workflow is None:
            return attrs.evolve(one, error=UnknownWorkflowError(one.workflow, self._workflows))
        changes = self._changes.get(one.workflow)
        try:
            options = self._options(workflow)
            async with resume(workflow, one.run_id, store=self._store, changes=changes, options=options) as run:
                self._running[run.id] = run
                self._on_begin(run)
                if self._stopping:
                    run.stop()
                return attrs.evolve(one, result=await run.wait())
        except Exception as error:  # noqa: BLE001  # it concerns this run; the others go on
            return attrs.evolve(one, error=error)
        finally:
            self._running.pop(one.run_id, None)


@asynccontextmanager
async def resume_all(
    workflows: Iterable[AnyWorkflow],
    *,
    store: Store,
    concurrency: int = RUNS_AT_ONCE,
    changes: Mapping[str, Mapping[str, object]] | None = None,
    options: Options | OptionsFor | None = None,
    on_begin: Callable[[AnyRun], None] = lambda run: None,
    on_end: Callable[[Resumed], None] | None = None,
) -> AsyncIterator[Resumption]:
    """Resume every unfinished run that no other process drives; an error of one does not stop the others.

    Leaving the block waits for all of them; a service that shuts down calls :meth:`Resumption.stop` first. Leaving the block with an
    exception suspends them. Each run keeps to its own rate limits, so that several at once send more than one does.

    Args:
        workflows: The definitions; runs of other workflows are reported with an ``UnknownWorkflowError``.
        concurrency: Runs that are driven at once.
        changes: Name of a workflow → settings that replace stored ones, as in :func:`~orchestrator.resume`.
        options: How this process drives them; a function chooses by the workflow, e.g. its tracer.
        on_begin: Called with each run that is driven, e.g. to export its metrics.
        on_end: Called at the end of each run.

    Raises:
        SettingError: ``concurrency`` is less than 1.
        StoreError: The list of runs cannot be read.
    """
    if concurrency < 1:
        raise SettingError("concurrency", f"{concurrency} is less than 1")
    chosen = options if callable(options) else lambda workflow: options
    resumption = Resumption({known.name: known for known in workflows}, store, changes or {}, chosen, on_begin, on_end)
    body_error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(resumption.execute, concurrency, name="resume all")
        try:
            yield resumption
            await resumption.wait()
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001  # raised itself, not in an ExceptionGroup
            body_error = error
            resumption.cancel()
    if body_error is not None:
        raise body_error
