"""The handshake: launcher and workers must have the same program, the same workflow, the same Python and the same Dask."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version

from orchestrator.cluster.reference import workflow_of
from orchestrator.errors import ClusterError, ConfigurationError

PROGRAM = "token-fulfillment-orchestrator"


def describe(reference: str) -> dict[str, str]:
    """The versions of this process; called on each worker."""
    try:
        definition = workflow_of(reference).definition
    except ConfigurationError as error:
        definition = str(error)
    return {
        PROGRAM: version(PROGRAM),
        "Python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "distributed": version("distributed"),
        "the workflow": definition,
    }


def compare(here: Mapping[str, str], workers: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse workers that differ.

    Args:
        workers: Address → its description.

    Raises:
        ClusterError: One differs; the message says which, and in which part.
    """
    for address, there in workers.items():
        for part, mine in here.items():
            theirs = there.get(part, "none")
            if theirs != mine:
                raise ClusterError(
                    f"{part} of the worker {address} differs: {theirs} there, {mine} here; install the same versions on all machines"
                )
