"""The command line: which commands there are, and what an error becomes."""

from __future__ import annotations

import errno
import gc
import inspect
import io
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
from cyclopts import App, CycloptsError, UnusedCliTokensError

from orchestrator.cli import checking, driving, looking, reporting
from orchestrator.cli.display import stderr
from orchestrator.cli.parameters import (
    CONFIG_FLAG,
    JSON_FLAG,
    EngineSettings,
    LoadSettings,
    Renewable,
    RunSettings,
    argument,
    flag,
    with_settings,
)
from orchestrator.errors import OrchestratorError, shortened
from orchestrator.events import Observer
from orchestrator.exit_codes import ExitCode
from orchestrator.registry import commands, find_workflow, workflow_names
from orchestrator.settings import APP
from orchestrator.workflow import Workflow

HELP = """Run API workflows as durable state machines: nothing lost, repeated or left behind.

Exit codes: 0 success; 1 the workflow failed (rolled back, or kept); 2 something to correct first (usage,
configuration, store, key, another process); 3 leftovers remain; 4 a threshold was broken; 130 interrupted, resumable.
"""


def entry(argv: Sequence[str]) -> int:
    """The program ``orchestrator``: prepares the process, runs the command, and answers with its exit code."""
    _open_standard_streams()
    tune_collector()
    return main(argv)


def _open_standard_streams() -> None:
    """One that the shell has closed would be given to the first file that is opened, and uvloop does not run without. What the
    terminal's encoding has no letter for is escaped."""
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name := ("stdin", "stdout", "stderr")[number]) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  # it is open as long as the program
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tune_collector() -> None:
    """Have Python look for cycles of garbage less often. A step makes hundreds of objects and hardly a cycle, so at the default
    of every 700 objects a twentieth of a load run's time goes into looking. (Its own program may do so; a library may not.)"""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def main(argv: Sequence[str], observers: Sequence[Observer] = ()) -> int:
    """Run one command and answer with its exit code; every expected failure is one line on stderr.

    Args:
        observers: Told of every event, beside the display.
    """
    try:
        app = build_app(argv, observers)
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
        # Whoever read our output has gone: nothing can be told any more.
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return _fail(f"the output cannot be written: {error.strerror}")


def build_app(argv: Sequence[str], observers: Sequence[Observer] = ()) -> App:
    """The application. The flags of ``run`` and its like are those of the workflow that ``argv`` names."""
    app = App(name=APP, help=HELP, help_format="plaintext", version=_version(), version_flags=["--version"])
    workflow = _meant_workflow(argv)
    own = workflow.settings if workflow else None
    engine = {"json": (JSON_FLAG, False), "config": (CONFIG_FLAG, None)}
    which = {"workflow": (argument("Which workflow; needed if several are installed."), None)}
    run = {"run": (argument("Id of the run."), None)}

    def add(name: str, command: Callable[..., Any], *classes: Any, leading: dict[str, Any]) -> None:
        bound = partial(_run_async, command, observers)
        app.command(with_settings(bound, *classes, leading=leading), name=name, help=_help(command))

    add("run", driving.run, RunSettings, EngineSettings, own, leading=which | engine)
    plan = {"scenario": (argument("TOML file with the table [load]."), None)}
    workflow_flag = {"workflow": (flag(str | None, "--workflow", "Which workflow; needed if several are installed."), None)}
    add("load", driving.load, LoadSettings, EngineSettings, own, leading=plan | workflow_flag | engine)
    add("resume", driving.resume, EngineSettings, Renewable(own), leading=run | engine)
    what = {"what": (argument("Id of a run, or of an instance."), None)}
    add("retry", driving.retry, EngineSettings, Renewable(own), leading=what | engine)
    add("list", looking.list_runs, EngineSettings, leading=engine)
    har = {"har": (flag(str | None, "--har", "Write the requests of an instance here, as an HTTP archive (HAR)."), None)}
    add("show", looking.show, EngineSettings, leading=what | har | engine)
    add("cleanup", driving.cleanup, EngineSettings, Renewable(own), leading=run | engine)
    files = {
        "output": (flag(str | None, "--output", "Where the HTML goes; RUN.html here by default."), None),
        "csv": (flag(str | None, "--csv", "Folder for states.csv, timeline.csv and errors.csv."), None),
        "junit": (flag(str | None, "--junit", "File for JUnit XML."), None),
    }
    add("report", reporting.report, EngineSettings, leading=run | files | engine)
    two = {"first": (argument("Id of a run."), None), "second": (argument("Id of another run."), None)}
    html = {"output": (flag(str | None, "--output", "Write it as HTML, too."), None)}
    add("compare", reporting.compare_runs, EngineSettings, leading=two | html | engine)
    output = {"output": (flag(Path | None, "--output", "File to write: .svg, .png or .mmd."), None)}
    add("graph", checking.graph, leading=which | output)
    add("doctor", checking.doctor, EngineSettings, own, leading=which | engine)
    for name, command in commands().items():
        app.command(command, name=name, help=_help(command))
    return app


def _run_async(command: Callable[..., Any], observers: Sequence[Observer], **arguments: Any) -> int:
    options = {"use_uvloop": find_spec("uvloop") is not None}
    return int(anyio.run(partial(command, observers, **arguments), backend_options=options))


def _meant_workflow(argv: Sequence[str]) -> Workflow[Any, Any] | None:
    """The workflow whose settings become flags: the one that is named, else the only one."""
    names = workflow_names()
    after_flag = [word for flag, word in itertools.pairwise(argv) if flag == "--workflow"]
    named = [word for word in (*argv[1:2], *after_flag) if word in names]
    if named or len(names) == 1:
        return find_workflow(named[0] if named else names[0])
    return None


def _help(command: Callable[..., Any]) -> str:
    """The docstring of a command with its paragraphs on one line each, so that they wrap with the terminal. Its
    examples get a heading of our own: the library takes the usual one for a section that it does not show."""
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


def _version() -> str:
    try:
        return version("token-fulfillment-orchestrator")
    except PackageNotFoundError:
        return "not installed"


def _fail(message: str) -> int:
    stderr().print(f"orchestrator: {message}")
    return ExitCode.USAGE
