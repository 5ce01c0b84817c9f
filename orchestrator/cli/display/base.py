"""What every display of a run has in common, and events as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import anyio

from orchestrator.api import Run
from orchestrator.cli.console import stderr
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
