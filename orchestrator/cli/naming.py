"""Names of workflows, runs and instances on the command line, and their defaults."""

from __future__ import annotations

from orchestrator.definition.registry import workflow_names
from orchestrator.errors import ConfigurationError
from orchestrator.inspection.stored_run import newest_runs
from orchestrator.lifecycle.ids import parse_id
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.base import Store


def default_workflow() -> str:
    """The workflow that is used when none is named: the only one that is installed.

    Raises:
        ConfigurationError: There are several, or none.
    """
    names = workflow_names()
    if len(names) != 1:
        raise ConfigurationError(f"name a workflow: {', '.join(names) or 'none is installed'}")
    return names[0]


async def named_or_newest(store: Store, run_id: str | None) -> RunRecord:
    """The run that is named, or else the newest. Raises ``ConfigurationError`` if the store has none."""
    if run_id is not None:
        return await store.run(run_id)
    runs = await newest_runs(store)
    if not runs:
        raise ConfigurationError(f"there is no run in {store.where} yet; `orchestrator run` starts one")
    return runs[0]


def parse_instance(given: str) -> tuple[str, int | None]:
    """The run that an id names, and the number of the instance if it is one of an instance. Raises ``ConfigurationError``."""
    try:
        return parse_id(given)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def parse_run(given: str) -> str:
    """The run that an id names; that of an instance will do. Raises ``ConfigurationError``."""
    return parse_instance(given)[0]
