"""The exit codes of the command line."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of a command."""

    SUCCESS = 0
    FAILED = 1
    """The workflow failed: instances were rolled back, or kept as they are."""
    USAGE = 2
    """Something to correct first: a flag, a setting, the key, the store, another process."""
    LEFTOVERS = 3
    """Something could not be removed; ``cleanup`` tries again."""
    THRESHOLD = 4
    """The run broke a threshold."""
    INTERRUPTED = 130
    """Interrupted; ``resume`` continues it."""
