"""The base class of displays, and the display that prints nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import anyio

from orchestrator.api import AnyRun
from orchestrator.cli.console import stderr
from orchestrator.lifecycle.events import Observer


class Display(ABC):
    """Shows a run while its ``with`` block lasts."""

    def __init__(self) -> None:
        self.unread = anyio.Event()
        """Set when the reader of our output has gone."""

    @property
    def observers(self) -> Sequence[Observer]:
        """The observers that the run calls."""
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def attach(self, run: AnyRun) -> None:
        """Show this run from now on."""
        return

    async def keep_up(self) -> None:
        """Update the display by time; cancelled when the run has ended."""
        return

    @abstractmethod
    def say(self, text: str) -> None:
        """A line for people."""


class Silent(Display):
    """For ``--json``: messages go to stderr."""

    def say(self, text: str) -> None:
        stderr().print(text)
