"""Finds the installed workflows and their commands by entry point."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigurationError, UnknownWorkflowError

if TYPE_CHECKING:
    from orchestrator.definition.workflow import AnyWorkflow

WORKFLOWS = "orchestrator.workflows"
"""Entry-point group: name of the workflow → a :class:`~orchestrator.definition.workflow.Workflow`."""
COMMANDS = "orchestrator.commands"
"""Entry-point group: name of a command → a function for the command line."""


def workflow_names() -> list[str]:
    """Names of the installed workflows."""
    return sorted(point.name for point in _points(WORKFLOWS))


def find_workflow(name: str) -> AnyWorkflow:
    """The installed workflow with this name.

    Raises:
        UnknownWorkflowError: No installed workflow has this name.
        ConfigurationError: It cannot be imported.
    """
    from orchestrator.definition.workflow import Workflow  # noqa: PLC0415  # listing the commands must stay fast

    for point in _points(WORKFLOWS):
        if point.name == name:
            found = _load(point)
            if not isinstance(found, Workflow):
                raise ConfigurationError(f"the entry point {point.name} = {point.value} is not a workflow")
            return found
    raise UnknownWorkflowError(name, workflow_names())


def commands() -> dict[str, Callable[[], Callable[..., object]]]:
    """Commands that installed packages add to the command line: name → function that imports the command. The function raises
    ``ConfigurationError`` if that fails."""
    return {point.name: partial(_load, point) for point in _points(COMMANDS)}


@cache
def _points(group: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))


def _load(point: EntryPoint) -> Any:  # known only when it is loaded
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the entry point {point.name} = {point.value} cannot be loaded: {error}") from error
