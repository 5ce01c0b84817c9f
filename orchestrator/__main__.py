"""The program ``orchestrator``: ``python -m orchestrator`` and the console script.

From its first line on, Ctrl-C ends it at once and in silence. Python's own handler would print a traceback from the middle of
the imports that follow. A command that has to suspend a run handles the signals itself (``orchestrator.cli.interrupt``).
"""

from __future__ import annotations

import gc
import signal
import sys


def _end_on_interrupt() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it, and goes on doing so
        signal.signal(signal.SIGINT, signal.SIG_DFL)


_end_on_interrupt()
gc.disable()  # imports make hardly any garbage, and looking for it takes a tenth of their time; the command line enables it again


def entry() -> None:
    """Run the command that the arguments name, and exit with its code."""
    from orchestrator.cli import entry as run  # noqa: PLC0415  # importing it takes most of the time until the first request

    try:
        code = run(sys.argv[1:])
    finally:
        _end_on_interrupt()  # an event loop that has ended leaves Python's handler behind
    sys.exit(code)


if __name__ == "__main__":
    entry()
