"""The consoles of the commands: results go to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import IO

from rich.console import Console


class Output(Console):
    """A console that prints text unchanged: no markup, no emoji codes, no added colours.

    Args:
        unread: Called when the reader of our output has gone; nothing is printed afterwards. ``None``: raise ``BrokenPipeError``.
    """

    def __init__(
        self,
        *,
        file: IO[str] | None = None,
        unread: Callable[[], None] | None = None,
        soft_wrap: bool = False,
        width: int | None = None,
    ) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, file=file, soft_wrap=soft_wrap, width=width)
        self._unread = unread

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # Otherwise flushing the rest of the output fails when the program ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if self._unread is None:
            raise BrokenPipeError
        self._unread()


def stdout(unread: Callable[[], None] | None = None) -> Output:
    """For results; in a pipe, tables are not cut to the width of a terminal."""
    width = None if sys.stdout.isatty() else 200
    return Output(unread=unread, file=sys.stdout, soft_wrap=True, width=width)


def stderr() -> Output:
    """For messages."""
    return Output(file=sys.stderr, soft_wrap=True)


def is_terminal() -> bool:
    """Whether printed lines can be overwritten."""
    return sys.stdout.isatty() and not Output(file=sys.stdout).is_dumb_terminal
