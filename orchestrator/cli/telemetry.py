"""The telemetry of a command: what its flags ask for, opened before the run and closed after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.cli.display.base import Display
from orchestrator.cli.interrupt import watch_signals
from orchestrator.cli.settings import TelemetrySettings
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import SettingError
from orchestrator.lifecycle.events import Observer

if TYPE_CHECKING:
    from orchestrator.api import Run
    from orchestrator.telemetry.metrics import Metrics


class Telemetry:
    """What this process exports of the run that it drives."""

    def __init__(self, settings: TelemetrySettings) -> None:
        self.observers: Sequence[Observer] = ()
        """The observers that the run calls."""
        self.notices: list[str] = []
        """Lines for people, said when the run begins."""
        self._settings = settings
        self._metrics: Metrics | None = None
        self._has_run = False

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
        self._has_run = True
        if self._metrics is not None:
            self._metrics.add(run, workflow)

    async def linger(self, display: Display) -> None:
        """Serve the final metrics as long as the user wants; a signal ends this."""
        seconds = self._settings.metrics_linger
        if not seconds or not self._has_run:
            return
        display.say(f"serving the final metrics for {seconds:g} s; Ctrl-C ends this")
        with anyio.move_on_after(seconds) as waiting:
            await watch_signals(lambda name: waiting.cancel(), lambda name: None)


@asynccontextmanager
async def open_telemetry(settings: TelemetrySettings) -> AsyncIterator[Telemetry]:
    """Open what the settings ask for. Raises ``SettingError``, before anything of the run exists."""
    async with AsyncExitStack() as stack:
        telemetry = Telemetry(settings)
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
