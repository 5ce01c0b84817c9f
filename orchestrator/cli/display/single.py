"""A run of one instance: a table that is updated in place, or a line for each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Self

from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli.console import Output, stdout
from orchestrator.cli.display.base import Display
from orchestrator.definition.machine import ROLLING_BACK
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.lifecycle.events import Event, EventKind, Observer
from orchestrator.report.instance import describe


class Plain(Display):
    """A line for each event, for a single instance."""

    stored_only = True

    def __init__(self, workflow: AnyWorkflow) -> None:
        super().__init__()
        self._workflow = workflow
        self._console = stdout(self.unread.set)

    @property
    def observers(self) -> Sequence[Observer]:
        return (self,)

    def say(self, text: str) -> None:
        self._console.print(text)

    def __call__(self, event: Event) -> None:
        line = describe(event, self._workflow)
        if line is not None:
            self.say(line)


class LiveTable(Display):
    """A table with a row for each state, updated in place."""

    stored_only = True

    def __init__(self, workflow: AnyWorkflow, title: str) -> None:
        super().__init__()
        self._workflow = workflow
        self._title = title
        self._here: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._undone: Counter[str] = Counter()
        self._took: dict[str, float] = {}
        self._ended: Counter[str] = Counter()
        self._place: dict[int, str] = {}
        self._note = ""
        self._live = Live(get_renderable=self._table, console=Output(), refresh_per_second=8, vertical_overflow="visible")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    @property
    def observers(self) -> Sequence[Observer]:
        return (self,)

    def say(self, text: str) -> None:
        self._live.console.print(text)

    def __call__(self, event: Event) -> None:
        match event.kind:
            case EventKind.STARTED | EventKind.RESUMED:
                self._move(event.number, event.state)
            case EventKind.MOVED:
                self._done[event.state] += 1
                self._move(event.number, event.target)
            case EventKind.RETRY:
                self._retries[event.state] += 1
                self._note = f"{event.state}: {event.error}"
            case EventKind.ROLLING_BACK:
                self._move(event.number, ROLLING_BACK)
                self._note = f"{event.state}: {event.error}" if event.error else self._note
            case EventKind.UNDONE:
                self._undone[event.state] += 1
            case EventKind.ENDED:
                self._move(event.number, None)
                self._ended[str(event.outcome)] += 1
            case _:
                pass
        if event.duration_s is not None:
            self._took[event.state] = event.duration_s

    def _move(self, number: int, place: str | None) -> None:
        before = self._place.pop(number, None)
        if before is not None:
            self._here[before] -= 1
        if place is not None:
            self._place[number] = place
            self._here[place] += 1

    def _table(self) -> Table:
        caption = ", ".join(sorted(self._ended))
        table = Table(title=self._title, title_justify="left", caption=caption, caption_justify="left", box=None, pad_edge=False)
        table.add_column("", justify="right", style="dim")
        table.add_column("state", no_wrap=True)
        for name in ("here", "done", "retries", "rolled back", "last ms"):
            table.add_column(name, justify="right")
        for number, state in enumerate(self._workflow.states, start=1):
            here, done = self._here[state.name], self._done[state.name]
            style = "bold yellow" if here else "green" if done else "dim"
            took = f"{self._took[state.name] * 1000:.1f}" if state.name in self._took else ""
            numbers = (here, done, self._retries[state.name], self._undone[state.name])
            table.add_row(str(number), Text(state.name, style), *(str(n) if n else "" for n in numbers), took)
        if self._here[ROLLING_BACK] or self._undone:
            table.add_row("", Text(ROLLING_BACK, "yellow"), str(self._here[ROLLING_BACK] or ""), "", "", "", "")
        if self._note:
            table.caption = f"{caption}\n{self._note[:200]}"
        return table
