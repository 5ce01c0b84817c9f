"""Renders the pages. Every value is escaped; no page holds a script or a style."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup

from orchestrator.inspection.standing import local_time
from orchestrator.load.figures import figure
from orchestrator.report.templates import make_environment

FOLDERS = {"static": "orchestrator.web", "assets": "orchestrator.report"}
"""Folder of files that a browser loads → the package that has it."""


def fragment(template: str, **values: object) -> Markup:
    """A template with its values."""
    return Markup(_environment().get_template(template).render(values))  # noqa: S704  # the template has escaped the values


def page(template: str, *, status: int = 200, can_start: bool = False, **values: object) -> web.Response:
    """A whole page.

    Args:
        can_start: Whether the page leads to the form that starts a run.
    """
    return web.Response(
        text=fragment(template, can_start=can_start, **values), status=status, content_type="text/html", charset="utf-8"
    )


def problem(status: int, reason: str) -> web.Response:
    """A page that says why there is no other."""
    return page("problem.html", status=status, title="Not possible", reason=reason, status_code=status)


@lru_cache
def _environment() -> Environment:
    environment = make_environment(ChoiceLoader([PackageLoader("orchestrator.web"), PackageLoader("orchestrator.report")]))
    environment.filters.update(local=local_time, figure=figure, clock=_clock)
    environment.globals["file"] = _address
    return environment


def _address(folder: str, name: str) -> str:
    """The address of a file that pages load."""
    return f"/{folder}/{name}"


def _clock(moment: float) -> str:
    """The time of day, to the millisecond."""
    return f"{datetime.fromtimestamp(moment, UTC).astimezone():%H:%M:%S.%f}"[:-3]
