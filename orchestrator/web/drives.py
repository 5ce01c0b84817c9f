"""The runs that this process drives, for the page to stop them and to show why one ended with an error."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
from anyio.abc import TaskGroup

from orchestrator.api import AnyRun
from orchestrator.errors import OrchestratorError


def _ignore(run: AnyRun) -> None:
    """Nobody follows the runs."""


class Drives:
    """Drives runs in the background, and knows those that the program drives itself.

    Args:
        begun: Called with each run that is driven in the background, when it has begun.
        ended: Called when it is driven no longer.
    """

    def __init__(self, begun: Callable[[AnyRun], None] = _ignore, ended: Callable[[AnyRun], None] = _ignore) -> None:
        self.tasks: TaskGroup | None = None
        """Where runs are driven; ``None``: this process starts none for the page."""
        self.errors: dict[str, str] = {}
        """Run → the error that ended its latest drive."""
        self._runs: dict[str, AnyRun] = {}
        self._begun, self._ended = begun, ended

    @property
    def running(self) -> list[AnyRun]:
        """The runs that are driven now."""
        return list(self._runs.values())

    def get(self, run_id: str) -> AnyRun | None:
        """A run that this process drives."""
        return self._runs.get(run_id)

    def adopt(self, run: AnyRun) -> None:
        """Show the controls of a run that the program drives itself."""
        self._runs[run.id] = run

    async def begin(self, opened: AbstractAsyncContextManager[AnyRun]) -> str:
        """Start or continue a run in the background; its id.

        Raises:
            OrchestratorError: It could not begin.
        """
        assert self.tasks is not None
        begun: str | OrchestratorError = await self.tasks.start(self._drive, opened)
        if isinstance(begun, OrchestratorError):
            raise begun
        return begun

    async def _drive(self, opened: AbstractAsyncContextManager[AnyRun], *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        run: AnyRun | None = None
        try:
            async with opened as run:
                self._runs[run.id] = run
                self._begun(run)
                self.errors.pop(run.id, None)
                task_status.started(run.id)
                await run.wait()
        except OrchestratorError as error:
            if run is None:
                task_status.started(error)
            else:
                self.errors[run.id] = "; ".join([str(error), *getattr(error, "__notes__", ())])
        finally:
            if run is not None:
                self._runs.pop(run.id, None)
                self._ended(run)

    def stop_all(self) -> None:
        """Suspend every run, letting attempts in flight finish."""
        for run in self.running:
            run.stop()

    def cancel_all(self) -> None:
        """Suspend every run at once."""
        for run in self.running:
            run.cancel()
