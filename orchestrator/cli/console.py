"""Where commands print: results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console


class Output(Console):
    """A console that prints what it is given: no markup, no emoji codes, no colours of its own.

    Args:
        unread: Called when whoever read our output has gone; nothing more is printed then. ``None``: ``BrokenPipeError`` is raised.
    """

    def __init__(self, *, unread: Callable[[], None] | None = None, **more: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **more)
        self._unread = unread

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # What Python still holds for it would fail when the program ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if self._unread is None:
            raise BrokenPipeError
        self._unread()


def stdout(unread: Callable[[], None] | None = None) -> Output:
    """For results; a table that is piped is not cut to a terminal's width."""
    width = None if sys.stdout.isatty() else 200
    return Output(unread=unread, file=sys.stdout, soft_wrap=True, width=width)


def stderr() -> Output:
    """For what is said beside them."""
    return Output(file=sys.stderr, soft_wrap=True)


def is_terminal() -> bool:
    """Whether lines that were printed can be written over."""
    return sys.stdout.isatty() and not Output(file=sys.stdout).is_dumb_terminal
