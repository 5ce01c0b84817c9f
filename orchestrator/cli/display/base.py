"""The base class of displays, and the display that prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import anyio

from orchestrator.api import Run
from orchestrator.cli.console import stderr
from orchestrator.lifecycle.events import Observer


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
