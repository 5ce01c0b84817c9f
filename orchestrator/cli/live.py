"""What a person sees of a run of many instances: a view that is kept up in place, or a line every few seconds."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, Self

import anyio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli.display import Display, Output, stdout
from orchestrator.collector import LATEST_ERRORS, Collector
from orchestrator.embedding import Run
from orchestrator.machine import ROLLING_BACK
from orchestrator.report.text import milliseconds
from orchestrator.scenario import Scenario
from orchestrator.statistics import INSTANCE, Latency
from orchestrator.workflow import Workflow

LINE_EVERY_S = 5
SAMPLE_EVERY_S = 1.0
REFRESH_PER_S = 2
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
        return f"{started} started, {ended or 'none ended'}"

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
        self.say(
            f"{_clock(progress.run.elapsed):>6}  {active} under way{progress.users()}, {progress.standing()}, {rate:.1f} {progress.unit}/s{took}{errors}, "
            f"{progress.left()}"
        )


class LoadView(Display):
    """A row for each state with what is going on in it, rates, errors and thresholds, kept up in place. The number of lines
    does not change while it runs, so nothing jumps."""

    def __init__(self, workflow: Workflow[Any, Any], title: str, console: Console | None = None) -> None:
        super().__init__()
        self._progress = Progress(workflow)
        self._workflow = workflow
        self._title = title
        self._live = Live(
            get_renderable=self.render,
            console=console or Output(),
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
        """The whole view."""
        return Group(*self._head(), self._states(), *self._foot())

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

    def _states(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", justify="right", style="dim", width=2)
        table.add_column("state", no_wrap=True, min_width=23)
        for name, width in (("here", 5), ("done", 7), ("retr.", 5), ("failed", 6), ("p50", 6), ("p95", 6), ("oldest", 7)):
            table.add_column(name, justify="right", width=width, no_wrap=True)
        progress, collector = self._progress, self._progress.collector
        here: Counter[str] = Counter()
        oldest: dict[str, float] = {}
        if collector is not None:
            for state, since in list(collector.place.values()):
                here[state] += 1
                oldest[state] = min(since, oldest.get(state, since))
        now = collector.steady() if collector is not None else 0.0
        for number, state in enumerate((*(s.name for s in self._workflow.states), ROLLING_BACK), start=1):
            latency = _recent(progress, state)
            done, retried, failed = self._counts(state)
            style = "bold yellow" if here[state] else "" if done else "dim"
            counts = (here[state], done, retried, failed)
            table.add_row(
                str(number) if state != ROLLING_BACK else "",
                Text(state, style),
                *(str(count) if count else "" for count in counts),
                milliseconds(latency.at(50)) if latency else "",
                milliseconds(latency.at(95)) if latency else "",
                f"{now - oldest[state]:.1f} s" if state in oldest else "",
            )
        return table

    def _counts(self, state: str) -> tuple[int, int, int]:
        """How often a state was done, retried, given up."""
        collector = self._progress.collector
        if collector is None or state not in collector.tallies:
            return 0, 0, 0
        tally = collector.tallies[state]
        return self._progress.done(state), tally.so_far("retried"), tally.so_far("failed")

    def _foot(self) -> Iterable[Text]:
        progress = self._progress
        if progress.run is not None:
            for verdict in progress.run.verdicts:
                if verdict.value is None:
                    yield _line(f"… {verdict.text}", "dim")
                else:
                    mark = "✓" if verdict.holds else "✗"
                    yield _line(f"{mark} {verdict.text}: {verdict.value}", "green" if verdict.holds else "bold red")
        shown = list(progress.collector.latest_errors) if progress.collector is not None else []
        for place in range(LATEST_ERRORS):
            yield _line(shown[place] if place < len(shown) else "", "red")


def _main_series(progress: Progress) -> str:
    spans = [span.name for span in progress.workflow.spans]
    return spans[-1] if spans else INSTANCE


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
