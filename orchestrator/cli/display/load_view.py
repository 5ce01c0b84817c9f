"""A run of many instances as a view that is updated in place, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import anyio
import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.api import AnyRun
from orchestrator.cli.console import Output
from orchestrator.cli.display.base import Display
from orchestrator.cli.display.progress import SAMPLE_EVERY_S, SAMPLES_KEPT, Progress, clock
from orchestrator.definition.machine import ROLLING_BACK
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.latency import Latency
from orchestrator.load.live import StateNow
from orchestrator.load.series import START_LAG
from orchestrator.load.thresholds import Verdict
from orchestrator.report.text import error_line, milliseconds

REFRESH_PER_S = 2
ERRORS_SHOWN = 3
STUCK_S = 2.0
"""A state whose oldest instance has been in it for longer is listed before idle ones."""
LEAST_ROWS = 3
"""Rows of the table of states that are shown in any terminal, however low."""
SPARKS = "▁▂▃▄▅▆▇█"


@attrs.frozen
class _Row:
    """A row of the view's table."""

    number: str
    name: str
    here: int
    done: int
    retried: int
    failed: int
    latency: Latency | None
    """Latency in the last two seconds."""
    oldest_s: float | None
    """Seconds that the oldest instance has been in this state."""

    @property
    def idle(self) -> bool:
        """Whether no instance is, or recently was, in this state."""
        return not self.here and self.latency is None

    @property
    def rank(self) -> tuple[bool, ...]:
        """Sort key: important rows first. It does not change with every move, so that the shown rows stay the same."""
        stuck = self.oldest_s is not None and self.oldest_s > STUCK_S
        return self.name != START_LAG, self.idle, not self.failed, not stuck, not self.retried


class LoadView(Display):
    """Rates, broken thresholds, errors, and a row for each state. If the terminal has too few lines, idle states and thresholds
    that hold are counted instead of listed."""

    def __init__(self, workflow: AnyWorkflow, title: str, console: Console | None = None) -> None:
        super().__init__()
        self._progress = Progress(workflow)
        self._workflow = workflow
        self._title = title
        self._console = console or Output()
        self._live = Live(
            get_renderable=self.render,
            console=self._console,
            refresh_per_second=REFRESH_PER_S,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def attach(self, run: AnyRun) -> None:
        self._progress.run = run
        self._title = f"{self._title} {run.id}" if run.id not in self._title else self._title

    def say(self, text: str) -> None:
        self._live.console.print(text)

    async def keep_up(self) -> None:
        while True:
            await anyio.sleep(SAMPLE_EVERY_S)
            self._progress.sample()

    def render(self) -> Group:
        """The whole view, cut to the height of the terminal."""
        self._progress.update()
        verdicts = self._progress.verdicts
        above = [*self._head(), *self._broken(verdicts), *self._errors()]
        left = self._console.height - 1 - len(above) - 1  # the cursor's line, and the head of the table
        below = list(self._other_verdicts(verdicts))
        if len(below) > max(1, left - LEAST_ROWS):
            holding = sum(verdict.holds for verdict in verdicts)
            below = [_line(f"✓ {holding} of {len(verdicts)} thresholds hold", "green" if holding == len(verdicts) else "")]
        return Group(*above, self._states(max(LEAST_ROWS, left - len(below))), *below)

    def _head(self) -> Iterable[Text]:
        progress = self._progress
        run = progress.run
        yield _line(self._title, "bold")
        if run is None:
            yield _line("opening …")
            return
        yield _line(run.scenario.describe(), "dim")
        yield _line(f"{clock(progress.live.elapsed)}  {_bar(run.scenario, progress)}  {progress.left()}")
        rate = progress.rates[-1] if progress.rates else 0.0
        yield _line(f"{progress.unit + '/s':<12}{_sparks(progress.rates)} {rate:8.1f}   {progress.standing()}")
        yield _line(
            f"{'under way':<12}{_sparks(progress.actives)} {progress.live.active:8}   {progress.errors} errors{progress.users()}"
        )
        if (arrivals := progress.arrivals) is not None:
            yield _line(f"{'arrivals':<12}{progress.backlog()}", "bold red" if arrivals.overdue else "")

    def _broken(self, verdicts: Iterable[Verdict]) -> Iterable[Text]:
        for verdict in verdicts:
            if verdict.value is not None and not verdict.holds:
                yield _line(f"✗ {verdict.text}: {verdict.value}", "bold red")

    def _errors(self) -> Iterable[Text]:
        """The most frequent errors."""
        frequent = sorted(self._progress.live.errors.items(), key=lambda item: -item[1].count)
        for key, tally in frequent[:ERRORS_SHOWN]:
            yield _line(error_line(key, tally), "red")
        if (more := sum(tally.count for _, tally in frequent[ERRORS_SHOWN:])) > 0:
            yield _line(f"{more} × {len(frequent) - ERRORS_SHOWN} other kinds of errors", "red")

    def _other_verdicts(self, verdicts: Iterable[Verdict]) -> Iterable[Text]:
        for verdict in verdicts:
            if verdict.value is None:
                yield _line(f"… {verdict.text}: {verdict.found}", "dim")
            elif verdict.holds:
                yield _line(f"✓ {verdict.text}: {verdict.value}", "green")

    def _states(self, room: int) -> Table:
        """The table of states; idle states that do not fit are counted in one row.

        Args:
            room: Rows that fit.
        """
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", justify="right", style="dim", width=2)
        table.add_column("state", no_wrap=True, min_width=23)
        for name, width in (("here", 5), ("done", 7), ("retr.", 5), ("failed", 6), ("p50 ms", 6), ("p95 ms", 6), ("oldest", 7)):
            table.add_column(name, justify="right", width=width, no_wrap=True)
        rows = self._rows()
        shown = rows
        if len(rows) > room:
            urgent = sorted(rows, key=lambda row: row.rank)[: room - 1]
            shown = [row for row in rows if row in urgent]
        for row in shown:
            counts = (row.here, row.done, row.retried, row.failed)
            table.add_row(
                row.number,
                Text(row.name, "bold yellow" if row.here else "" if row.done else "dim"),
                *(str(count) if count else "" for count in counts),
                milliseconds(row.latency.at(50)) if row.latency else "",
                milliseconds(row.latency.at(95)) if row.latency else "",
                f"{row.oldest_s:.1f} s" if row.oldest_s is not None else "",
            )
        if hidden := [row for row in rows if row not in shown]:
            idle = sum(row.idle for row in hidden)
            table.add_row("", Text(f"… {len(hidden)} more, {idle} idle", "dim"))
        return table

    def _rows(self) -> list[_Row]:
        """The start lag of arrivals, then the states in the order of the workflow."""
        progress, live = self._progress, self._progress.live
        rows = []
        if (arrivals := progress.arrivals) is not None:
            waiting = 0 if progress.arrivals_over else arrivals.waiting
            rows.append(_Row("", START_LAG, waiting, arrivals.started, 0, 0, live.latency(START_LAG), progress.behind_s))
        for number, state in enumerate((*(s.name for s in self._workflow.states), ROLLING_BACK), start=1):
            shown, now = str(number) if state != ROLLING_BACK else "", live.states.get(state, StateNow())
            rows.append(_Row(shown, state, now.here, now.done, now.retried, now.failed, live.latency(state), now.oldest_s))
        return rows


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _bar(scenario: Scenario, progress: Progress) -> str:
    share = (
        progress.live.elapsed / scenario.length
        if scenario.length is not None
        else sum(progress.ended.values()) / (scenario.total or 1)
    )
    filled = round(20 * min(1.0, share))
    return "█" * filled + "░" * (20 - filled)


def _sparks(values: Iterable[float]) -> str:
    numbers = list(values)
    highest = max(numbers, default=0.0)
    drawn = "".join(SPARKS[min(7, int(8 * value / highest))] if highest else SPARKS[0] for value in numbers)
    return drawn.rjust(SAMPLES_KEPT)
