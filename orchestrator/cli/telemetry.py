"""The telemetry of a command: what its flags ask for, opened before the run and closed after it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.cli.display.base import Display
from orchestrator.cli.interrupt import watch_signals
from orchestrator.cli.settings import LogFormat, LogLevel, TelemetrySettings
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import SettingError
from orchestrator.lifecycle.events import Observer

if TYPE_CHECKING:
    from orchestrator.api import Run
    from orchestrator.inspection.result import RunResult
    from orchestrator.telemetry.metrics import Metrics


class Telemetry:
    """What this process exports of the run that it drives."""

    def __init__(self, settings: TelemetrySettings) -> None:
        self.observers: list[Observer] = []
        """The observers that the run calls."""
        self.notices: list[str] = []
        """Lines for people, said when the run begins."""
        self._settings = settings
        self._metrics: Metrics | None = None
        self._log = logging.getLogger("orchestrator.runs")
        self._run: Run[Any] | None = None

    def open_logs(self, stack: ExitStack) -> None:
        """Log to stderr, if asked for."""
        kind, level = self._settings.log_format, self._settings.log_level
        if kind is None and level is None:
            return
        from orchestrator.telemetry.log_output import logs_to_stderr  # noqa: PLC0415  # most runs log nothing
        from orchestrator.telemetry.logs import EventLogger, JsonFormatter, TextFormatter  # noqa: PLC0415

        number = (level or LogLevel.INFO).number
        stack.enter_context(logs_to_stderr(JsonFormatter() if kind is LogFormat.JSON else TextFormatter(), number))
        self.observers.append(EventLogger(number))

    async def open_metrics(self, stack: AsyncExitStack) -> None:
        """Serve metrics, if asked for. Raises ``SettingError``."""
        address = self._settings.metrics
        if address is None:
            return
        with _needs("metrics", "metrics"):
            from orchestrator.telemetry.metrics import Metrics  # noqa: PLC0415  # with a web server behind it
            from orchestrator.telemetry.server import serve_metrics  # noqa: PLC0415
        self._metrics = Metrics()
        url = await stack.enter_async_context(serve_metrics(self._metrics, address))
        self.notices.append(f"metrics: {url}")

    def attach(self, run: Run[Any], workflow: Workflow[Any, Any]) -> None:
        """The run has begun."""
        self._run = run
        self._tell("run %s of %s: %s", run.id, workflow.name, run.scenario.describe())
        if self._metrics is not None:
            self._metrics.add(run, workflow)

    def ended(self, result: RunResult) -> None:
        """The run has ended, or is interrupted."""
        if self._run is not None and self._run.aborted is not None:
            self._tell("run %s: a broken threshold ended the scenario: %s", result.run_id, self._run.aborted)
        counts = ", ".join(f"{number} {status.value}" for status, number in result.counts.items())
        self._tell("run %s: %s, %s", result.run_id, result.status.value, counts or "no instances")

    def failed(self, error: Exception) -> None:
        """The run was stopped by an error, which is raised."""
        said = "; ".join((str(error), *getattr(error, "__notes__", ())))
        self._log.error("%s", said, extra={"fields": {"run": self._run.id} if self._run is not None else {}})

    def _tell(self, said: str, run_id: str, *arguments: object) -> None:
        self._log.info(said, run_id, *arguments, extra={"fields": {"run": run_id}})

    async def linger(self, display: Display) -> None:
        """Serve the final metrics as long as the user wants; a signal ends this."""
        seconds = self._settings.metrics_linger
        if not seconds or self._run is None:
            return
        display.say(f"serving the final metrics for {seconds:g} s; Ctrl-C ends this")
        with anyio.move_on_after(seconds) as waiting:
            await watch_signals(lambda name: waiting.cancel(), lambda name: None)


@asynccontextmanager
async def open_telemetry(settings: TelemetrySettings) -> AsyncIterator[Telemetry]:
    """Open what the settings ask for. Raises ``SettingError``, before anything of the run exists."""
    async with AsyncExitStack() as stack:
        telemetry = Telemetry(settings)
        telemetry.open_logs(stack.enter_context(ExitStack()))
        await telemetry.open_metrics(stack)
        yield telemetry


@contextmanager
def _needs(name: str, extra: str) -> Iterator[None]:
    """Say which extra a setting needs if its packages are not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingError(
            name, f"{error.name} is not installed; install the extra: pip install 'token-fulfillment-orchestrator[{extra}]'"
        ) from error
