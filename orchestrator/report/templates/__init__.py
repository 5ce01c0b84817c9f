"""Renders the Jinja2 templates of the reports: every value is escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files

import orjson
from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.lifecycle.duration import show_duration
from orchestrator.report.text import milliseconds


def render(template: str, **values: object) -> Markup:
    """A template of this folder with its values."""
    return Markup(_environment().get_template(template).render(values))  # noqa: S704  # the template has escaped the values


def script_data(data: object) -> Markup:
    """JSON text for a script element."""
    text = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    # "</" is all that could end the element early, and "<!--" all that could change how its end is found.
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704  # see above


@lru_cache
def _environment() -> Environment:
    return make_environment(PackageLoader("orchestrator.report"))


def make_environment(loader: BaseLoader) -> Environment:
    """An environment whose templates may use those of this folder: it escapes every value, and has the filters for times."""
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(milliseconds=milliseconds, duration=_duration, utc=_utc)
    environment.globals["asset"] = _asset
    return environment


@lru_cache
def _asset(name: str) -> Markup:
    return Markup((files("orchestrator.report") / "assets" / name).read_text("utf-8"))  # noqa: S704  # a file of this package


def _duration(seconds: float) -> str:
    return show_duration(round(seconds, 1))


def _utc(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
