"""Opens the telemetry of a command before the run, by its settings, and closes it afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio

from orchestrator.cli.interrupt import watch_signals
from orchestrator.cli.settings import LogFormat, LogLevel, TelemetrySettings
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.driving.options import WorkerTraces
from orchestrator.errors import SettingError
from orchestrator.lifecycle.events import Event, Observer

if TYPE_CHECKING:
    from orchestrator.api import AnyRun
    from orchestrator.inspection.result import RunResult
    from orchestrator.telemetry.logs import EventLogger
    from orchestrator.telemetry.metrics import Metrics
    from orchestrator.telemetry.otlp import Otlp
    from orchestrator.telemetry.tracing import Tracing
    from orchestrator.web.app import Extension

ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT" for part in ("", "TRACES_", "METRICS_"))
"""Variables that switch OTLP on."""


class Telemetry:
    """The telemetry that this process exports."""

    def __init__(self, settings: TelemetrySettings, environ: Mapping[str, str]) -> None:
        self.observers: list[Observer] = []
        """The observers that the run calls."""
        self.notices: list[str] = []
        """Lines for people, said when the run begins."""
        self._settings = settings
        self._environ = environ
        self._event_logger: EventLogger | None = None
        self._metrics: Metrics | None = None
        self._otlp: Otlp | None = None
        self._tracing: Tracing | None = None
        self._log = logging.getLogger("orchestrator.runs")
        # Without a handler, Python prints errors itself, and the command prints them too.
        self._log.addHandler(logging.NullHandler())
        self._run: AnyRun | None = None
        """The latest."""
        self._runs: dict[str, AnyRun] = {}

    def open_logs(self, stack: ExitStack) -> None:
        """Log to stderr, if asked for."""
        kind, level = self._settings.log_format, self._settings.log_level
        if kind is None and level is None:
            return
        from orchestrator.telemetry.log_output import logs_to_stderr  # noqa: PLC0415  # most runs log nothing
        from orchestrator.telemetry.logs import EventLogger, JsonFormatter, TextFormatter  # noqa: PLC0415  # as above

        number = (level or LogLevel.INFO).number
        stack.enter_context(logs_to_stderr(JsonFormatter() if kind is LogFormat.JSON else TextFormatter(), number))
        self._event_logger = EventLogger(number, self._trace_id)
        self.observers.append(self._event_logger)

    async def open_metrics(self, stack: AsyncExitStack) -> None:
        """Serve metrics, if asked for. Raises ``SettingError``."""
        address = self._settings.metrics
        if address is None:
            return
        with _needs("metrics", "metrics"):
            from orchestrator.telemetry.server import serve_metrics  # noqa: PLC0415  # with a web server behind it
        url = await stack.enter_async_context(serve_metrics(self._all_metrics(), address))
        self.notices.append(f"metrics: {url}")

    def open_otlp(self, stack: AsyncExitStack) -> None:
        """Send traces and metrics, if asked for. Raises ``SettingError``."""
        variable = next((name for name in ENDPOINTS if self._environ.get(name)), None)
        if not self._settings.otlp and variable is None:
            return
        try:
            with _needs("otlp", "otel"):
                from orchestrator.telemetry.otlp import Otlp  # noqa: PLC0415  # with the SDK behind it

                self._otlp = Otlp(self._all_metrics(), propagate=self._settings.send_traceparent, environ=self._environ)
        except SettingError as error:
            if self._settings.otlp or not isinstance(error.__cause__, ModuleNotFoundError):
                raise
            self.notices.append(f"{variable} is set, but nothing is sent: {error.problem}")
            return
        stack.push_async_callback(self._otlp.close)

    def of_page(self) -> Sequence[Extension]:
        """The metrics as a part of the web page, if their extra is installed."""
        if find_spec("prometheus_client") is None:
            return ()
        from orchestrator.telemetry.server import add_metrics  # noqa: PLC0415  # with the page's web server behind it

        return (partial(add_metrics, metrics=self._all_metrics()),)

    def tracer(self, workflow: AnyWorkflow) -> Tracing | None:
        """The tracer of the run; ``None``: no traces are wanted."""
        if self._otlp is not None:
            self._tracing = self._otlp.tracing(workflow.name)
        return self._tracing

    def worker_traces(self, tracer: Tracing | None) -> WorkerTraces | None:
        """How worker processes trace the run instead of this process; ``None``: no traces are wanted."""
        if tracer is None:
            return None
        variables = {name: value for name, value in self._environ.items() if name.startswith("OTEL_")}
        return WorkerTraces(variables=variables, propagate=self._settings.send_traceparent)

    def attach(self, run: AnyRun) -> None:
        """The run has begun."""
        self._run = self._runs[run.id] = run
        self._tell("run %s of %s: %s", run.id, run.workflow.name, run.scenario.describe())
        if self._event_logger is not None:
            self._event_logger.note(run.id, run.shards)
        if self._metrics is not None:
            self._metrics.add(run)

    def detach(self, run_id: str) -> None:
        """A run is driven no longer, but this process goes on."""
        self._runs.pop(run_id, None)
        if self._metrics is not None:
            self._metrics.end(run_id)

    async def keep_up(self) -> None:
        """Send metrics while the run lasts; cancelled when it has ended."""
        if self._otlp is not None:
            await self._otlp.keep()

    def requested(self, what: str) -> None:
        """Another process has asked for this."""
        if self._run is not None:
            self._tell("run %s: %s", self._run.id, what)

    def ended(self, result: RunResult) -> None:
        """The run has ended, or is interrupted."""
        run = self._runs.get(result.run_id)
        if run is not None and run.aborted is not None:
            self._tell("run %s: a broken threshold ended the scenario: %s", result.run_id, run.aborted)
        counts = ", ".join(f"{number} {status.value}" for status, number in result.counts.items())
        self._tell("run %s: %s, %s", result.run_id, result.status.value, counts or "no instances")

    def failed(self, error: Exception) -> None:
        """The run was stopped by an error, which is raised."""
        said = "; ".join((str(error), *getattr(error, "__notes__", ())))
        self._log.error("%s", said, extra={"fields": {"run": self._run.id} if self._run is not None else {}})

    async def linger(self, say: Callable[[str], object]) -> None:
        """Serve the final metrics as long as the user wants; a signal ends this."""
        seconds = self._settings.metrics_linger
        if not seconds or self._run is None:
            return
        say(f"serving the final metrics for {seconds:g} s; Ctrl-C ends this")
        with anyio.move_on_after(seconds) as waiting:
            await watch_signals(lambda name: waiting.cancel(), lambda name: None)

    def _all_metrics(self) -> Metrics:
        from orchestrator.telemetry.metrics import Metrics  # noqa: PLC0415  # most runs export none

        self._metrics = self._metrics or Metrics()
        return self._metrics

    def _trace_id(self, event: Event) -> str | None:
        return None if self._tracing is None else self._tracing.trace_id(event)

    def _tell(self, said: str, run_id: str, *arguments: object) -> None:
        self._log.info(said, run_id, *arguments, extra={"fields": {"run": run_id}})


@asynccontextmanager
async def open_telemetry(settings: TelemetrySettings, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Telemetry]:
    """Open the telemetry of the settings. Raises ``SettingError`` before the run exists."""
    async with AsyncExitStack() as stack:
        telemetry = Telemetry(settings, environ)
        telemetry.open_logs(stack.enter_context(ExitStack()))
        telemetry.open_otlp(stack)
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
