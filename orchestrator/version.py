"""The version of the installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """The version, or ``not installed`` (the package is run from a folder)."""
    try:
        return version("token-fulfillment-orchestrator")
    except PackageNotFoundError:
        return "not installed"
