"""A run of many instances as a line every few seconds, for output that is not a terminal."""

from __future__ import annotations

import anyio

from orchestrator.api import AnyRun
from orchestrator.cli.console import stdout
from orchestrator.cli.display.base import Display
from orchestrator.cli.display.progress import SAMPLE_EVERY_S, Progress, clock
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.inspection.details import main_series
from orchestrator.report.text import milliseconds

LINE_EVERY_S = 5


class LoadLines(Display):
    """A line every few seconds, where there is no terminal."""

    def __init__(self, workflow: AnyWorkflow) -> None:
        super().__init__()
        self._progress = Progress(workflow)
        self._console = stdout(self.unread.set)

    def attach(self, run: AnyRun) -> None:
        self._progress.run = run

    def say(self, text: str) -> None:
        self._console.print(text)

    async def keep_up(self) -> None:
        while True:
            for _ in range(LINE_EVERY_S):
                await anyio.sleep(SAMPLE_EVERY_S)
                self._progress.sample()
            self._line()

    def _line(self) -> None:
        progress = self._progress
        if progress.run is None:
            return
        progress.update()
        rate = progress.rates[-1] if progress.rates else 0.0
        active = progress.live.active
        latency = progress.live.latency(main_series(progress.workflow))
        took = f", p95 {milliseconds(latency.at(95))} ms" if latency else ""
        errors = f", {progress.errors} errors" if progress.errors else ""
        backlog = f", arrivals: {progress.backlog()}" if progress.arrivals is not None else ""
        self.say(
            f"{clock(progress.live.elapsed):>6}  {active} under way{progress.users()}, {progress.standing()}, {rate:.1f} {progress.unit}/s{took}{errors}"
            f"{backlog}, {progress.left()}"
        )
        for verdict in progress.verdicts:
            if verdict.value is not None and not verdict.holds:
                self.say(f"        BROKEN so far: {verdict.text}: {verdict.value}")
