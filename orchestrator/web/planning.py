"""Planning: a form turned into a run that can be started. The command line provides the planner, because it knows the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol

import attrs

from orchestrator.api import AnyRun


class Kind(StrEnum):
    """The kinds of runs that a form starts."""

    RUN = "run"
    LOAD = "load"


class Widget(StrEnum):
    """How a field is filled in."""

    TEXT = "text"
    LINES = "lines"
    CHECKBOX = "checkbox"
    SELECT = "select"
    PASSWORD = "password"


@attrs.frozen(kw_only=True)
class Field:
    """One setting in a form."""

    name: str
    help: str
    widget: Widget
    choices: tuple[str, ...] = ()
    usual: str = ""
    """The default, as people write it."""
    value: str = ""
    """As people write it; never that of a secret."""
    source: str = "default"
    """Where the value comes from: ``default``, a variable, a file, or ``form``."""


@attrs.frozen(kw_only=True)
class Planned:
    """A run that may be started."""

    description: str
    """The scenario, in one line."""
    needs: str
    """The least time that the rates of the run allow, in one line; empty: no rate holds it up."""
    opened: AbstractAsyncContextManager[AnyRun]
    """Entering it starts the run."""


class Planner(Protocol):
    """Makes runs of forms."""

    def workflows(self) -> Sequence[str]:
        """Names of the installed workflows."""

    def fields(self, kind: Kind, workflow: str, given: Mapping[str, object]) -> Mapping[str, Sequence[Field]]:
        """Heading → the fields of a form, with the given values, or those of the environment and the configuration file."""

    async def plan(self, kind: Kind, workflow: str, given: Mapping[str, object]) -> Planned:
        """Check the values of a form.

        Args:
            given: Name of a setting → text; a setting without an entry keeps its usual value.

        Raises:
            OrchestratorError: A value is not possible, in one line for people.
        """

    def again(self, command: str, workflow: str, run_id: str, number: int | None) -> AbstractAsyncContextManager[AnyRun]:
        """Continue a stored run: ``resume``, ``retry`` or ``cleanup``. Entering it begins.

        Args:
            number: The only instance to retry or roll back; ``None``: all.
        """
