"""Names a workflow so that another process finds it: by its entry point, or as ``module:NAME``."""

from __future__ import annotations

import sys
from importlib import import_module

from orchestrator.definition.registry import find_workflow, workflow_names
from orchestrator.definition.workflow import AnyWorkflow, Workflow
from orchestrator.errors import ConfigurationError


def reference_to(workflow: AnyWorkflow) -> str:
    """The name of a workflow for other processes.

    Raises:
        ConfigurationError: It is neither installed nor in a module.
    """
    if workflow.name in workflow_names() and find_workflow(workflow.name) is workflow:
        return workflow.name
    for name, module in list(sys.modules.items()):
        for variable, value in list(getattr(module, "__dict__", {}).items()):
            if value is workflow:
                return f"{name}:{variable}"
    raise ConfigurationError(
        f"worker processes cannot find the workflow {workflow.name!r}: assign it to a name at the top of a module, or install it "
        "as an entry point"
    )


def workflow_of(reference: str) -> AnyWorkflow:
    """The workflow that :func:`reference_to` has named.

    Raises:
        ConfigurationError: This process does not have it.
    """
    module, colon, variable = reference.partition(":")
    if not colon:
        return find_workflow(reference)
    try:
        found = getattr(import_module(module), variable)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"the workflow {reference} cannot be imported here: {error}") from error
    if not isinstance(found, Workflow):
        raise ConfigurationError(f"{reference} is not a workflow")
    return found
