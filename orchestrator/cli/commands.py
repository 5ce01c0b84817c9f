"""Which function a command is, and which flags it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from orchestrator.cli.parameters import (
    CONFIG_FLAG,
    JSON_FLAG,
    EngineSettings,
    LoadSettings,
    OutputSettings,
    Renewable,
    RunSettings,
    argument,
    flag,
    with_settings,
)

if TYPE_CHECKING:
    from orchestrator.definition.workflow import Workflow

_ENGINE = {"json": (JSON_FLAG, False), "config": (CONFIG_FLAG, None)}
_WHICH = {"workflow": (argument("Which workflow; needed if several are installed."), None)}
_WORKFLOW = {"workflow": (flag(str | None, "--workflow", "Which workflow; needed if several are installed."), None)}
_PLAN = {"scenario": (argument("TOML file with the table [load]."), None)}
_RUN = {"run": (argument("Id of the run."), None)}
_WHAT = {"what": (argument("Id of a run, or of an instance."), None)}
_TWO = {"first": (argument("Id of a run."), None), "second": (argument("Id of another run."), None)}
_HAR = {"har": (flag(str | None, "--har", "Write the requests of an instance here, as an HTTP archive (HAR)."), None)}
_FILES = {
    "output": (flag(str | None, "--output", "Where the HTML goes; RUN.html here by default."), None),
    "csv": (flag(str | None, "--csv", "Folder for states.csv, timeline.csv and errors.csv."), None),
    "junit": (flag(str | None, "--junit", "File for JUnit XML."), None),
}
_FAIL_ON = {
    "fail_on": (
        flag(list[str] | None, "--fail-on", "Exit with 4 if this change is found, e.g. 'p95 > +10%'; any number of times."),
        None,
    )
}
_HTML = {"output": (flag(str | None, "--output", "Write it as HTML, too."), None)}
_PICTURE = {"output": (flag(Path | None, "--output", "File to write: .svg, .png or .mmd."), None)}


@attrs.frozen
class Command:
    """A command: where its function is, and which flags it takes."""

    module: str
    function: str
    leading: Mapping[str, Any]
    """Positional arguments and further flags."""
    classes: tuple[Any, ...] = (EngineSettings,)
    """Settings classes that become flags."""
    own: Callable[[Any], Any] | None = None
    """Which of the workflow's settings become flags, too."""

    def load(self) -> Callable[..., Any]:
        """The function, with its module imported."""
        function: Callable[..., Any] = getattr(import_module(f"orchestrator.cli.{self.module}"), self.function)
        return function

    def with_flags(self, call: Callable[..., Any], workflow: Workflow[Any, Any] | None) -> Callable[..., Any]:
        """``call`` with this command's flags as its signature."""
        own = (self.own(workflow.settings if workflow else None),) if self.own else ()
        return with_settings(call, *self.classes, *own, leading=self.leading)


def _all(settings: Any) -> Any:
    return settings


COMMANDS = {
    "run": Command("driving", "run", _WHICH | _ENGINE, (RunSettings, EngineSettings), _all),
    "load": Command("driving", "load", _PLAN | _WORKFLOW | _ENGINE, (LoadSettings, EngineSettings), _all),
    "resume": Command("driving", "resume", _RUN | _ENGINE, (OutputSettings, EngineSettings), own=Renewable),
    "retry": Command("driving", "retry", _WHAT | _ENGINE, (OutputSettings, EngineSettings), own=Renewable),
    "list": Command("listing", "list_runs", _ENGINE),
    "show": Command("looking", "show", _WHAT | _HAR | _ENGINE),
    "cleanup": Command("driving", "cleanup", _RUN | _ENGINE, own=Renewable),
    "report": Command("reporting", "report", _RUN | _FILES | _ENGINE),
    "compare": Command("reporting", "compare_runs", _TWO | _HTML | _FAIL_ON | _ENGINE),
    "graph": Command("checking", "graph", _WHICH | _PICTURE, ()),
    "doctor": Command("checking", "doctor", _WHICH | _ENGINE, own=_all),
}
