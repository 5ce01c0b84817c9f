"""Settings of a whole process. Only a program may set them, not a library."""

from __future__ import annotations

import gc

_M_ARENA_MAX = -8
"""Of ``malloc.h``."""


def tune_collector() -> None:
    """Run Python's cyclic garbage collector less often. A step makes hundreds of objects and hardly a cycle; at the default, every
    700 objects, the collector takes a twentieth of the time of a load run."""
    gc.freeze()  # objects of the imports live until the end
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


def share_arena() -> None:
    """Let all threads allocate from one arena of glibc's malloc; without glibc this does nothing.

    By default each thread has an arena, which keeps what was freed in it, so that memory grows slowly for hours. Our threads
    seldom wait for each other's allocations: most of the time they wait for the interpreter's lock, or for the disk.

    Source: mallopt(3).
    """
    import ctypes  # noqa: PLC0415  # takes milliseconds, which commands that end at once need not spend

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_ARENA_MAX, 1)
