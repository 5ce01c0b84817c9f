"""What a person sees of a run of many instances: a view that is kept up in place, or a line every few seconds."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, Self

import anyio
import attrs
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.api import Run
from orchestrator.cli.console import Output, stdout
from orchestrator.cli.display import Display
from orchestrator.definition.machine import ROLLING_BACK
from orchestrator.definition.workflow import Workflow
from orchestrator.lifecycle.scenario import Arrivals, Scenario
from orchestrator.load.collector import Collector
from orchestrator.load.statistics import INSTANCE, START_LAG, Latency
from orchestrator.load.thresholds import Verdict
from orchestrator.report.text import error_line, milliseconds

LINE_EVERY_S = 5
SAMPLE_EVERY_S = 1.0
REFRESH_PER_S = 2
ERRORS_SHOWN = 3
STUCK_S = 2.0
"""An instance that has stood in a state for longer makes that state worth a row."""
LEAST_ROWS = 3
"""Of the table of states, however low the terminal."""
SPARKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 24


class Progress:
    """The numbers that both forms show, read off the collector when they are shown: nothing is done for an event."""

    def __init__(self, workflow: Workflow[Any, Any]) -> None:
        self.workflow = workflow
        self.run: Run[Any] | None = None
        self.rates: deque[float] = deque(maxlen=SPARK_WIDTH)
        self.actives: deque[float] = deque(maxlen=SPARK_WIDTH)
        self._sampled = time.monotonic()
        self._finished_then = 0

    @property
    def unit(self) -> str:
        """What is counted a second: rounds, where the scenario goes round."""
        return "rounds" if self.run is not None and self.run.scenario.rounds != 1 else "instances"

    @property
    def collector(self) -> Collector | None:
        return self.run.collector if self.run is not None else None

    @property
    def ended(self) -> dict[str, int]:
        """Status → instances that ended with it."""
        counters = self.collector.counters if self.collector is not None else {}
        return {name.removeprefix("ended."): count for name, count in sorted(counters.items()) if name.startswith("ended.")}

    @property
    def arrivals(self) -> Arrivals | None:
        """Of an open scenario."""
        return self.run.arrivals if self.run is not None and self.collector is not None else None

    @property
    def verdicts(self) -> list[Verdict]:
        """How the thresholds stand."""
        return self.run.verdicts if self.run is not None and self.collector is not None else []

    @property
    def errors(self) -> int:
        return self.collector.counters["errors"] if self.collector is not None else 0

    def done(self, state: str) -> int:
        """How often a state has ended with an outcome."""
        if self.collector is None:
            return 0
        return sum(self.collector.tallies[state].so_far(f"moved.{name}") for name in self.workflow.state_named[state].outcomes)

    def sample(self) -> None:
        """Note the throughput and the concurrency, once a second."""
        now = time.monotonic()
        if self.collector is None or now - self._sampled < SAMPLE_EVERY_S:
            return
        round_end = self.workflow.round_end
        finished = self.done(round_end) if self.unit == "rounds" and round_end else sum(self.ended.values())
        self.rates.append((finished - self._finished_then) / (now - self._sampled))
        self.actives.append(len(self.collector.place))
        self._sampled, self._finished_then = now, finished

    def standing(self) -> str:
        """How many have ended, and how."""
        ended = ", ".join(f"{count} {status}" for status, count in self.ended.items())
        started = self.collector.counters["started"] if self.collector is not None else 0
        return f"{started:,} started, {ended or 'none ended'}"

    @property
    def arrivals_over(self) -> bool:
        """Whether no arrival starts any more: those that wait are missed."""
        ends_at = self.run.scenario.ends_at if self.run is not None else None
        return self.run is not None and (self.run.aborted is not None or (ends_at is not None and self.run.elapsed >= ends_at))

    @property
    def behind_s(self) -> float | None:
        """How long the next arrival to start has been due; ``None``: there is none."""
        waits = self.arrivals is not None and self.arrivals.waiting and not self.arrivals_over
        return self.arrivals.behind_s if self.arrivals is not None and waits else None

    def backlog(self) -> str:
        """The arrivals that are due and what became of them; empty for a closed scenario."""
        arrivals = self.arrivals
        if arrivals is None:
            return ""
        over, behind_s = self.arrivals_over, self.behind_s
        behind = f", {behind_s:.1f} s behind" if behind_s is not None else ""
        return (
            f"{arrivals.due:,} due, {arrivals.started:,} started, {arrivals.waiting:,} {'missed' if over else 'waiting'}{behind}"
        )

    def users(self) -> str:
        """Of a scenario that keeps its users: how many go round, of those that are wanted."""
        if self.run is None or self.collector is None or not self.run.scenario.replaces or not self.run.wanted:
            return ""
        waits = f", {held} wait after failures" if (held := self.run.held_back) else ""
        return f", {self.collector.offered} of {self.run.wanted} users go round{waits}"

    def left(self) -> str:
        """How long it goes on."""
        if self.run is None:
            return ""
        scenario, elapsed = self.run.scenario, self.run.elapsed
        if scenario.length is not None:
            rest = scenario.length - elapsed
            return f"{_clock(rest)} left" if rest > 0 else "time is over: finishing and tearing down"
        total, ended = scenario.total or 0, sum(self.ended.values())
        if not ended or ended >= total:
            return f"{total} instances"
        return f"{ended} of {total}, about {_clock(elapsed / ended * (total - ended))} left"


class LoadLines(Display):
    """A line every few seconds, where there is no terminal."""

    def __init__(self, workflow: Workflow[Any, Any]) -> None:
        super().__init__()
        self._progress = Progress(workflow)
        self._console = stdout(self.unread.set)

    def attach(self, run: Run[Any]) -> None:
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
        rate = progress.rates[-1] if progress.rates else 0.0
        active = len(progress.run.collector.place)
        latency = _recent(progress, _main_series(progress))
        took = f", p95 {milliseconds(latency.at(95))} ms" if latency else ""
        errors = f", {progress.errors} errors" if progress.errors else ""
        backlog = f", arrivals: {progress.backlog()}" if progress.arrivals is not None else ""
        self.say(
            f"{_clock(progress.run.elapsed):>6}  {active} under way{progress.users()}, {progress.standing()}, {rate:.1f} {progress.unit}/s{took}{errors}"
            f"{backlog}, {progress.left()}"
        )
        for verdict in progress.verdicts:
            if verdict.value is not None and not verdict.holds:
                self.say(f"        BROKEN so far: {verdict.text}: {verdict.value}")


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
    """Of the last seconds."""
    oldest_s: float | None
    """How long the one that has stood here longest has done so."""

    @property
    def idle(self) -> bool:
        """Whether nothing was in this state for some seconds."""
        return not self.here and self.latency is None

    @property
    def rank(self) -> tuple[bool, ...]:
        """Sorts those first that a reader must see. Nothing in it changes with every move, so the rows that are shown stay."""
        stuck = self.oldest_s is not None and self.oldest_s > STUCK_S
        return self.name != START_LAG, self.idle, not self.failed, not stuck, not self.retried


class LoadView(Display):
    """Rates, broken thresholds, errors, and a row for each state, kept up in place. Where the terminal is too low for all of
    it, idle states and thresholds that hold are counted instead of listed."""

    def __init__(self, workflow: Workflow[Any, Any], title: str, console: Console | None = None) -> None:
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

    def attach(self, run: Run[Any]) -> None:
        self._progress.run = run
        self._title = f"{self._title} {run.id}" if run.id not in self._title else self._title

    def say(self, text: str) -> None:
        self._live.console.print(text)

    async def keep_up(self) -> None:
        while True:
            await anyio.sleep(SAMPLE_EVERY_S)
            self._progress.sample()

    def render(self) -> Group:
        """The whole view, in the lines that the terminal has."""
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
        if run is None or progress.collector is None:
            yield _line("opening …")
            return
        yield _line(run.scenario.describe(), "dim")
        yield _line(f"{_clock(run.elapsed)}  {_bar(run.scenario, run.elapsed, progress)}  {progress.left()}")
        rate = progress.rates[-1] if progress.rates else 0.0
        yield _line(f"{progress.unit + '/s':<12}{_sparks(progress.rates)} {rate:8.1f}   {progress.standing()}")
        yield _line(
            f"{'under way':<12}{_sparks(progress.actives)} {len(progress.collector.place):8}   {progress.errors} errors{progress.users()}"
        )
        if (arrivals := progress.arrivals) is not None:
            yield _line(f"{'arrivals':<12}{progress.backlog()}", "bold red" if arrivals.overdue else "")

    def _broken(self, verdicts: Iterable[Verdict]) -> Iterable[Text]:
        for verdict in verdicts:
            if verdict.value is not None and not verdict.holds:
                yield _line(f"✗ {verdict.text}: {verdict.value}", "bold red")

    def _errors(self) -> Iterable[Text]:
        """The most frequent ones."""
        met = self._progress.collector.errors if self._progress.collector is not None else {}
        frequent = sorted(met.items(), key=lambda item: -item[1].count)
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
        """The table of states, idle ones counted in one row if they do not fit.

        Args:
            room: Rows that there is room for.
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
        """The start lag of arrivals, then the states in order."""
        progress, collector = self._progress, self._progress.collector
        here: Counter[str] = Counter()
        oldest: dict[str, float] = {}
        if collector is not None:
            for state, since in list(collector.place.values()):
                here[state] += 1
                oldest[state] = min(since, oldest.get(state, since))
        now = collector.steady() if collector is not None else 0.0
        rows = []
        if (arrivals := progress.arrivals) is not None:
            waiting = 0 if progress.arrivals_over else arrivals.waiting
            rows.append(_Row("", START_LAG, waiting, arrivals.started, 0, 0, _recent(progress, START_LAG), progress.behind_s))
        for number, state in enumerate((*(s.name for s in self._workflow.states), ROLLING_BACK), start=1):
            shown = str(number) if state != ROLLING_BACK else ""
            stood = now - oldest[state] if state in oldest else None
            rows.append(_Row(shown, state, here[state], *self._counts(state), _recent(progress, state), stood))
        return rows

    def _counts(self, state: str) -> tuple[int, int, int]:
        """How often a state was done, retried, given up."""
        collector = self._progress.collector
        if collector is None or state not in collector.tallies:
            return 0, 0, 0
        tally = collector.tallies[state]
        return self._progress.done(state), tally.so_far("retried"), tally.so_far("failed")


def _main_series(progress: Progress) -> str:
    segments = [span.name for span in progress.workflow.segments]
    return segments[-1] if segments else INSTANCE


def _recent(progress: Progress, series: str) -> Latency | None:
    """What the last two seconds had of a series."""
    return progress.collector.recent.latencies.get(series) if progress.collector is not None else None


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _clock(seconds: float) -> str:
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"


def _bar(scenario: Scenario, elapsed: float, progress: Progress) -> str:
    share = elapsed / scenario.length if scenario.length is not None else sum(progress.ended.values()) / (scenario.total or 1)
    filled = round(20 * min(1.0, share))
    return "█" * filled + "░" * (20 - filled)


def _sparks(values: Iterable[float]) -> str:
    numbers = list(values)
    highest = max(numbers, default=0.0)
    drawn = "".join(SPARKS[min(7, int(8 * value / highest))] if highest else SPARKS[0] for value in numbers)
    return drawn.rjust(SPARK_WIDTH)
