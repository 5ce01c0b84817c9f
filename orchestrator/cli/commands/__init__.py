"""The commands, one module each, and the flags that each takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import attrs

from orchestrator.cli import selection
from orchestrator.cli.flags import CONFIG_FLAG, JSON_FLAG, Leading, Renewable, Without, argument, flag, with_settings
from orchestrator.cli.run_settings import LoadSettings, OutputSettings, RunSettings
from orchestrator.cli.settings import EngineSettings, TelemetrySettings
from orchestrator.settings import RUNS_AT_ONCE
from orchestrator.web.settings import WebSettings

if TYPE_CHECKING:
    from orchestrator.definition.workflow import AnyWorkflow

Command: TypeAlias = Callable[..., Awaitable[int]]
"""The function of a command: takes the observers and the flags, and returns the exit code."""

_CONFIG: dict[str, Leading] = {"config": (CONFIG_FLAG, None)}
_ENGINE: dict[str, Leading] = {"json": (JSON_FLAG, False), **_CONFIG}
_WHICH: dict[str, Leading] = {"workflow": (argument("Which workflow; needed if several are installed."), None)}
_WORKFLOW: dict[str, Leading] = {
    "workflow": (flag(str | None, "--workflow", "Which workflow; needed if several are installed."), None)
}
_PLAN: dict[str, Leading] = {"scenario": (argument("TOML file with the table [load]."), None)}
_RUN: dict[str, Leading] = {"run": (argument("Id of the run."), None)}
_SHARD: dict[str, Leading] = {
    "shard": (flag(list[int] | None, "--shard", "Shard to drive, counted from 0. Can be repeated."), None)
}
_NO_DRIVE: dict[str, Leading] = {
    "no_drive": (flag(bool, "--no-drive", "Only store the run; drive its shards with `orchestrator drive`."), False)
}
_WEB: dict[str, Leading] = {
    "web": (
        flag(str | None, "--web", "Show the run in the browser, on this port; the default is a free one: --web [PORT]."),
        None,
    )
}
_EVERY: dict[str, Leading] = {
    "everything": (flag(bool, "--all", "Resume every unfinished run that no other process drives."), False),
    "concurrency": (
        flag(int | None, "--concurrency", f"With --all: how many runs are resumed at once. [default: {RUNS_AT_ONCE}]"),
        None,
    ),
}
_ID: dict[str, Leading] = {
    "run_id": (
        flag(
            str | None,
            "--id",
            "Id of your choice (a-z, 0-9, hyphens). A second start with it resumes the run, or shows the result of the finished one.",
        ),
        None,
    )
}
_ID_OF_ANY: dict[str, Leading] = {"id": (argument("Id of a run, or of an instance."), None)}
_TWO: dict[str, Leading] = {"first": (argument("Id of a run."), None), "second": (argument("Id of another run."), None)}
_HAR: dict[str, Leading] = {
    "har": (flag(str | None, "--har", "Write the requests of the instance to this file, as an HTTP archive (HAR)."), None)
}
_FILES: dict[str, Leading] = {
    "output": (flag(str | None, "--output", "HTML file to write. [default: ./RUN.html]"), None),
    "csv": (flag(str | None, "--csv", "Folder for states.csv, timeline.csv and errors.csv."), None),
    "junit": (flag(str | None, "--junit", "File for JUnit XML."), None),
}
_FAIL_ON: dict[str, Leading] = {
    "fail_on": (
        flag(
            list[str] | None,
            "--fail-on",
            "Exit with code 4 if the change meets this condition, e.g. 'p95 > +10%'. Can be repeated.",
        ),
        None,
    )
}
_HTML: dict[str, Leading] = {"output": (flag(str | None, "--output", "Also write the comparison as HTML to this file."), None)}
_PAGE: dict[str, Leading] = {
    "limit": (flag(int | None, "--limit", "Runs to list. [default: 100]"), None),
    "after": (flag(str | None, "--after", "List the runs behind this one: the next page."), None),
    "everything": (flag(bool, "--all", "List every run, on one page."), False),
}
_PRUNE: dict[str, Leading] = {
    "older_than": (flag(str | None, "--older-than", "Delete runs that ended longer ago than this, e.g. 30d."), None),
    "keep": (flag(int | None, "--keep", "Keep this many of the newest runs, of any age."), None),
    "dry_run": (flag(bool, "--dry-run", "Only list the runs that would be deleted and those that would stay."), False),
    "yes": (flag(bool, "--yes", "Do not ask. Without a terminal, nothing is asked."), False),
}
_COPY: dict[str, Leading] = {
    "source": (argument("The store with the runs: a path or a URL."), None),
    "target": (argument("The store that gets them."), None),
    "run": (flag(list[str] | None, "--run", "Run to copy; the default is every run. Can be repeated."), None),
}
_PICTURE: dict[str, Leading] = {"output": (flag(Path | None, "--output", "File to write: .svg, .png or .mmd."), None)}


_HERE = Without(EngineSettings, "processes", "cluster", "cluster_tls")
"""For commands that start no worker processes."""


_CLUSTER: dict[str, Leading] = {
    "action": (argument("certs, scheduler or worker."), None),
    "where": (argument("Folder for the certificates, or the scheduler of a worker."), None),
    "tls": (flag(str | None, "--tls", "Folder with the certificates. Without it, only this machine can be used."), None),
    "host": (flag(str | None, "--host", "Address to listen on. [default: all with certificates, else loopback]"), None),
    "port": (flag(int, "--port", "Port of the scheduler. [default: 8786]"), 8786),
    "scheduler_file": (flag(str | None, "--scheduler-file", "File that the scheduler writes and a worker reads."), None),
    "processes": (flag(str, "--processes", "Processes of a worker machine: a number, or 'auto' for one per processor."), "auto"),
    "no_nanny": (flag(bool, "--no-nanny", "Do not restart a worker: something else does (Kubernetes, systemd)."), False),
}


@attrs.frozen
class Flags:
    """The flags of a command."""

    leading: Mapping[str, Leading]
    """Positional arguments and further flags."""
    classes: tuple[object, ...] = (_HERE,)
    """Settings classes that become flags."""
    own: Callable[[object], object] | None = None
    """Selects the settings of the workflow that become flags."""

    def added_to(self, call: Callable[..., int], workflow: AnyWorkflow | None) -> Callable[..., int]:
        """``call`` with these flags as its signature."""
        own = (self.own(workflow.settings if workflow else None),) if self.own else ()
        return with_settings(call, *self.classes, *own, leading=self.leading)


def _all(settings: object) -> object:
    return settings


FLAGS = {
    "run": Flags(_WHICH | _ID | _WEB | _ENGINE, (RunSettings, TelemetrySettings, EngineSettings), _all),
    "load": Flags(_PLAN | _WORKFLOW | _ID | _NO_DRIVE | _WEB | _ENGINE, (LoadSettings, TelemetrySettings, EngineSettings), _all),
    "resume": Flags(_RUN | _EVERY | _WEB | _ENGINE, (OutputSettings, TelemetrySettings, EngineSettings), own=Renewable),
    "drive": Flags(_RUN | _SHARD | _ENGINE, (OutputSettings, TelemetrySettings, _HERE), own=Renewable),
    "retry": Flags(_ID_OF_ANY | _ENGINE, (OutputSettings, TelemetrySettings, EngineSettings), own=Renewable),
    "list": Flags(selection.STATUS | selection.WORKFLOW | selection.PERIOD | _PAGE | _ENGINE),
    "prune": Flags(_PRUNE | selection.STATUS | selection.WORKFLOW | _ENGINE),
    "show": Flags(_ID_OF_ANY | _HAR | _ENGINE),
    "cleanup": Flags(_ID_OF_ANY | _ENGINE, (TelemetrySettings, EngineSettings), own=Renewable),
    "report": Flags(_RUN | _FILES | _ENGINE),
    "compare": Flags(_TWO | _HTML | _FAIL_ON | _ENGINE),
    "web": Flags(_CONFIG, (WebSettings, TelemetrySettings, _HERE)),
    "store": Flags(_COPY | {"json": (JSON_FLAG, False)}, ()),
    "cluster": Flags(_CLUSTER, ()),
    "graph": Flags(_WHICH | _PICTURE, ()),
    "doctor": Flags(_WHICH | _ENGINE, own=_all),
}
"""Command → its flags."""


def function_of(name: str) -> Command:
    """The function ``command`` of a command's module, which is imported now."""
    function: Command = import_module(f"{__name__}.{name}").command
    return function
