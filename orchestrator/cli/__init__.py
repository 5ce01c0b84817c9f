"""The command line: builds the application, runs one command, and turns errors into a message and an exit code."""

from __future__ import annotations

import errno
import inspect
import io
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, UnusedCliTokensError

from orchestrator.definition import registry
from orchestrator.errors import OrchestratorError, shortened
from orchestrator.process import share_arena, tune_collector
from orchestrator.report.exit_codes import ExitCode
from orchestrator.version import installed_version

if TYPE_CHECKING:
    from orchestrator.cli.commands import Command
    from orchestrator.definition.workflow import AnyWorkflow
    from orchestrator.lifecycle.events import Observer

SUMMARIES = {
    "run": "Run a workflow: by default one instance, on the embedded sandbox if no tenant is configured.",
    "load": "Run many instances by a scenario, and measure them: closed, by arrival rate, or as a soak.",
    "resume": "Resume an interrupted run: unfinished instances first, then those that were not started.",
    "drive": "Drive some shards of a run, beside other processes that drive the others.",
    "retry": "Retry the failed instances that a finished run kept, each from the step that failed.",
    "list": "List the runs of the store, the newest first. Needs no key.",
    "prune": "Delete old runs that are finished and have left nothing behind, and give their space back. Needs no key.",
    "show": "Show a run, or one instance of it: history, status, created objects, the next step and its reason.",
    "cleanup": "Remove everything that a run, or one instance of it, created: of completed, failed and interrupted instances, leftovers included.",
    "report": "Write the measurements of a run as one self-contained HTML file; also as CSV, JUnit XML or JSON.",
    "compare": "Show two runs side by side: rates, failures, and the percentiles of each state.",
    "web": "Show runs in the browser: live, finished or interrupted, of any process. Starts and continues them, too.",
    "store": "Copy runs from one store to another, whole and unchanged.",
    "cluster": "Prepare a cluster of machines: its certificates, its scheduler, its workers.",
    "graph": "Draw the state machine of a workflow: Mermaid text on stdout, or an image (needs Graphviz).",
    "doctor": "Check configuration, store, key, and whether the tenant answers. Changes nothing.",
}
"""Command → the first paragraph of its docstring. Written twice (a test compares them), so that ``--help`` imports no command."""
BRIEF = frozenset({"compare", "graph", "list", "prune", "report", "show"})
"""Commands that read and print: importing uvloop takes longer than it saves them."""
ACTIONS = {"store": "copy"}
"""Command → the word behind it."""
LONGEST_MESSAGE = 2000
"""Characters of an error message."""

HELP = (
    "Run API workflows as durable state machines: nothing lost, repeated or left behind.\n\n"
    "Exit codes: 0 success; 1 the workflow failed (rolled back, or kept); 2 something to correct first (usage, configuration, "
    "store, key, another process); 3 leftovers remain; 4 a threshold was broken; 130 interrupted, resumable."
)
"""A line for each paragraph, so that the terminal wraps them."""


def entry(argv: Sequence[str]) -> int:
    """The program ``orchestrator``: prepare the process, run the command, and return its exit code."""
    _open_standard_streams()
    return main(argv, imported=tune_collector)


def _open_standard_streams() -> None:
    """Open standard streams that the shell has closed: otherwise the next file gets their number, and uvloop fails without
    them. Characters that the terminal's encoding lacks are escaped."""
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name := ("stdin", "stdout", "stderr")[number]) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  # open until the program ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str], observers: Sequence[Observer] = (), *, imported: Callable[[], None] = lambda: None) -> int:
    """Run one command and return its exit code; every expected failure is one line on stderr.

    Args:
        observers: Called with every event, as the display is.
        imported: Called when the command has been imported, before it runs.
    """
    argv = with_default_port(argv)
    try:
        app = build_app(argv, observers)
        imported()
        result = app(list(argv), exit_on_error=False, print_error=False, result_action="return_value")
        return int(result or 0)
    except UnusedCliTokensError as error:
        return _fail(
            f"unexpected argument{'s' if len(error.unused_tokens or ()) > 1 else ''} {_listed(error.unused_tokens)} (see --help)"
        )
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()) + " (see --help)")
    except OrchestratorError as error:
        return _fail("; ".join([str(error), *getattr(error, "__notes__", ())]))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, so nothing can be printed.
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _fail(f"the output cannot be written: {error.strerror}")


def with_default_port(argv: Sequence[str]) -> list[str]:
    """The arguments with a port behind ``--web``, where none is given: the parser knows no optional values."""
    found: list[str] = []
    for word, following in itertools.zip_longest(argv, argv[1:], fillvalue=""):
        found.append(word)
        if word == "--web" and not following.isdecimal():
            found.append("auto")
    return found


def build_app(argv: Sequence[str], observers: Sequence[Observer] = ()) -> App:
    """The application. Only the commands that ``argv`` names are imported and get their flags; the others get a line of help."""
    app = App(name="orchestrator", help=HELP, help_format="plaintext", version=installed_version(), version_flags=["--version"])
    for name, summary in SUMMARIES.items():
        if name in argv:
            from orchestrator.cli.commands import FLAGS, function_of  # noqa: PLC0415  # with the settings of all of them behind it

            flags = FLAGS[name]
            function = function_of(name)
            workflow = _meant_workflow(argv) if flags.own else None
            prepare = workflow.prepare if workflow else None
            call = flags.added_to(partial(_run_async, function, observers, prepare, name not in BRIEF), workflow)
            group = app
            if name in ACTIONS:
                group = App(name=name, help=summary, help_format="plaintext", version_flags=[])
                app.command(group)
            group.command(call, name=ACTIONS.get(name, name), help=_help(function))
        else:
            app.command(_unnamed, name=name, help=summary)
    named = bool(SUMMARIES.keys() & set(argv))
    for name, load in registry.commands().items():
        brought = _unnamed if named and name not in argv else load()
        app.command(brought, name=name, help=_help(brought))
    return app


def _unnamed() -> None:
    """Placeholder for a command that the arguments do not name."""


def _run_async(
    command: Command, observers: Sequence[Observer], prepare: Callable[[], None] | None, is_long: bool, **arguments: object
) -> int:
    if is_long:
        share_arena()
    if prepare is not None:
        # No daemon: Python crashes at times if it ends while such a thread imports an extension module.
        Thread(target=_tried, args=(prepare,), name="prepare services").start()
    import anyio  # noqa: PLC0415  # --help needs no event loop

    options = {"use_uvloop": is_long and find_spec("uvloop") is not None}
    return int(anyio.run(partial(command, observers, **arguments), backend_options=options))


def _tried(prepare: Callable[[], None]) -> None:
    with suppress(Exception):  # opening the services reports it
        prepare()


def _meant_workflow(argv: Sequence[str]) -> AnyWorkflow | None:
    """The workflow whose settings become flags: the named one, or the only one."""
    names = registry.workflow_names()
    after_flag = [word for flag, word in itertools.pairwise(argv) if flag == "--workflow"]
    named = [word for word in (*argv[1:2], *after_flag) if word in names]
    if named or len(names) == 1:
        return registry.find_workflow(named[0] if named else names[0])
    return None


def _help(command: Callable[..., object]) -> str:
    """The docstring of a command, each paragraph on one line, so that it wraps with the terminal. The heading of the examples is
    replaced, because cyclopts hides a section named *Examples*."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    shown = []
    for paragraph in paragraphs:
        if paragraph.startswith("Examples:"):
            shown.append(paragraph.replace("Examples:", "Try", 1))
        else:
            shown.append(" ".join(paragraph.split()))
    return "\n\n".join(shown)


def _listed(words: Iterable[str] | None) -> str:
    return ", ".join(shortened(word) for word in words or ())


def _fail(message: str) -> int:
    from orchestrator.cli.console import stderr  # noqa: PLC0415  # with rich behind it

    stderr().print(f"orchestrator: {_one_line(message)}")
    return ExitCode.USAGE


def _one_line(message: str) -> str:
    """A message on one line. Control characters, which file names may hold, are escaped; a very long message is cut."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}…"
