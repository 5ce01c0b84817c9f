"""What a person sees while a run goes on: a table that keeps up in a terminal, plain lines without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Self

import anyio
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.api import Run
from orchestrator.cli.console import Output, stderr, stdout
from orchestrator.definition.machine import ROLLING_BACK
from orchestrator.definition.workflow import Workflow
from orchestrator.lifecycle.events import Event, EventKind, Observer


class Display:
    """Shows a run, between ``with``. By itself it shows nothing; subclasses say at least how a line is printed."""

    def __init__(self) -> None:
        self.unread = anyio.Event()
        """Set: whoever read our output has gone."""

    @property
    def observers(self) -> Sequence[Observer]:
        """Who is to be told of what is stored."""
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def attach(self, run: Run[Any]) -> None:
        """The run that is shown, once it is there."""

    async def keep_up(self) -> None:
        """What is shown by the clock and not by events; cancelled when the run has ended."""

    def say(self, text: str) -> None:
        """A line for people."""
        raise NotImplementedError


class Silent(Display):
    """For ``--json``: what has to be said goes to stderr."""

    def say(self, text: str) -> None:
        stderr().print(text)


def describe(event: Event, workflow: Workflow[Any, Any]) -> str | None:
    """An event as one line; ``None`` for those that say nothing to a person."""
    took = f"{event.duration_s * 1000:7.1f} ms" if event.duration_s is not None else " " * 10
    order = workflow.order(event.state)
    place = f"{order:>3}  {event.state:<24}" if order <= len(workflow.states) else f"     {event.state:<24}"
    match event.kind:
        case EventKind.MOVED:
            outcome = event.outcome if event.handler == "run" else f"{event.outcome} (recovered)"
            arrow = f"  → {event.target}" if event.outcome != "done" else ""
            return f"{place} {took}  {outcome}{arrow}"
        case EventKind.RETRY:
            return f"{place} {took}  attempt {event.attempt} failed: {event.error}"
        case EventKind.NOT_FOUND:
            return f"{place} {took}  looked: its effect is not there"
        case EventKind.ROLLING_BACK:
            return f"{place} {took}  " + (f"failed: {event.error}" if event.error else "tearing down")
        case EventKind.UNDONE:
            return f"     {event.state:<24} {took}  rolled back"
        case EventKind.LEFT_OVER:
            return f"     {event.state:<24} {took}  left over: {event.error}"
        case EventKind.PUT_BACK:
            return f"{place} {took}  put back, to be retried"
        case EventKind.SUSPENDED | EventKind.RESUMED | EventKind.FAILED:
            return f"{place} {took}  {event.kind.value}" + (f": {event.error}" if event.error else "")
        case _:
            return None


class Plain(Display):
    """A line for each event, for a single instance."""

    stored_only = True

    def __init__(self, workflow: Workflow[Any, Any]) -> None:
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
    """A row for each state of a single instance, kept up in place."""

    stored_only = True

    def __init__(self, workflow: Workflow[Any, Any], title: str) -> None:
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
