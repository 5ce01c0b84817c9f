"""Exit codes of the command line."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a program that called us learns."""

    SUCCESS = 0
    FAILED = 1
    """The workflow failed: instances were rolled back, or kept as they are."""
    USAGE = 2
    """Something to correct first: a flag, a setting, the key, the store, another process."""
    LEFTOVERS = 3
    """Something could not be removed; ``cleanup`` tries again."""
    THRESHOLD = 4
    """The run did not keep to a threshold."""
    INTERRUPTED = 130
    """``resume`` goes on."""
