"""The web page beside a command, and the planner that turns its forms into runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from orchestrator import api
from orchestrator.api import AnyRun
from orchestrator.cli.console import stderr
from orchestrator.cli.preparing import Prepared, prepare
from orchestrator.cli.resolver import LOAD_TABLE, RUN_TABLE, Resolver
from orchestrator.cli.run_settings import DataSettings, LoadSettings, RunSettings
from orchestrator.cli.telemetry import Telemetry
from orchestrator.definition.registry import find_workflow, workflow_names
from orchestrator.driving.options import Options
from orchestrator.errors import SettingError
from orchestrator.settings import Setting, settings_of
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault
from orchestrator.web.planning import Field, Kind, Planned, Widget

if TYPE_CHECKING:
    from orchestrator.web.drives import Drives
    from orchestrator.web.server import Served

AUTOMATIC = "auto"
"""Stands for ``--web`` without a port."""
_TABLES: Mapping[Kind, tuple[type[RunSettings | LoadSettings], str]] = {
    Kind.RUN: (RunSettings, RUN_TABLE),
    Kind.LOAD: (LoadSettings, LOAD_TABLE),
}
_LEFT_OUT = {setting.name for setting in settings_of(DataSettings)}
"""A form reads and writes no files on the machine of the server; the page has the reports."""


class SettingsPlanner:
    """Makes runs of forms, by the settings of the command line. See :class:`~orchestrator.web.planning.Planner`."""

    def __init__(self, store: Store, vault: Vault, options: Options, config: Path | None, telemetry: Telemetry) -> None:
        self._store = store
        self._vault = vault
        self._options = options
        self._config = config
        self._telemetry = telemetry

    def workflows(self) -> Sequence[str]:
        """Names of the installed workflows."""
        return workflow_names()

    def fields(self, kind: Kind, workflow: str, given: Mapping[str, object]) -> Mapping[str, Sequence[Field]]:
        """Heading → fields."""
        resolver, (settings, table) = self._resolver(given), _TABLES[kind]
        groups: dict[str, list[Field]] = {}
        for s in settings_of(settings):
            if s.name not in _LEFT_OUT:
                groups.setdefault(s.group or "General", []).append(_field(s, *resolver.raw(s, table)))
        for s in settings_of(find_workflow(workflow).settings):
            groups.setdefault(s.group or workflow, []).append(_field(s, *resolver.raw(s, workflow)))
        return groups

    async def plan(self, kind: Kind, workflow: str, given: Mapping[str, object]) -> Planned:
        """Check the values of a form."""
        prepared = await self._prepared(kind, workflow, given)
        return Planned(
            description=prepared.scenario.describe(),
            needs="" if prepared.needs is None else str(prepared.needs),
            opened=prepared.open(self._store, self._options_for(workflow)),
        )

    async def _prepared(self, kind: Kind, workflow: str, given: Mapping[str, object]) -> Prepared:
        found, (settings, table) = find_workflow(workflow), _TABLES[kind]
        usual = self._resolver({})
        known = [(s, table) for s in settings_of(settings)] + [(s, workflow) for s in settings_of(found.settings)]
        # A field that still shows the usual value was not filled in.
        form = {
            s.name: given[s.name] for s, where in known if s.name in given and given[s.name] != _shown(s, usual.raw(s, where)[0])
        }
        resolver = self._resolver(form)
        resolver.check_tables()
        wanted = resolver.run().value if kind is Kind.RUN else resolver.load().value
        return await prepare(resolver, found, wanted, self._store, self._vault)

    def again(self, command: str, workflow: str, run_id: str, number: int | None) -> AbstractAsyncContextManager[AnyRun]:
        """Continue a stored run, or one instance of it."""
        found, options = find_workflow(workflow), self._options_for(workflow)
        if command == "resume":
            return api.resume(found, run_id, store=self._store, options=options)
        continued = {"retry": api.retry, "cleanup": api.cleanup}[command]
        return continued(found, run_id, store=self._store, number=number, options=options)

    def _options_for(self, workflow: str) -> Options:
        return attrs.evolve(self._options, tracer=self._telemetry.tracer(find_workflow(workflow)))

    def _resolver(self, form: Mapping[str, object]) -> Resolver:
        return Resolver({}, self._config, form=form)


def _field(s: Setting, raw: object, source: str) -> Field:
    return Field(
        name=s.name,
        help=s.help,
        widget=_widget(s),
        choices=_choices(s),
        usual=_shown(s, s.shown or s.default),
        value="" if s.secret else _shown(s, raw),
        source=source,
    )


def _widget(s: Setting) -> Widget:
    if s.type is bool:
        return Widget.CHECKBOX
    if s.secret:
        return Widget.PASSWORD
    if s.many:
        return Widget.LINES
    return Widget.SELECT if _choices(s) else Widget.TEXT


def _choices(s: Setting) -> tuple[str, ...]:
    is_choice = isinstance(s.type, type) and issubclass(s.type, Enum)
    return tuple(str(member.value) for member in s.type) if is_choice else ()


def _shown(s: Setting, raw: object) -> str:
    """A raw value as its field shows it."""
    if raw is None or raw == ():
        return ""
    if isinstance(raw, bool):
        return "true" if raw else ""
    if isinstance(raw, list | tuple):
        return ("\n" if s.many else ",").join(map(str, raw))
    if isinstance(raw, float):
        return f"{raw:g}"
    return str(raw.value) if isinstance(raw, Enum) else str(raw)


@asynccontextmanager
async def page_beside(
    asked: str | None, resolver: Resolver, store: Store, vault: Vault, telemetry: Telemetry
) -> AsyncIterator[Drives | None]:
    """Serve the page while a command drives its run.

    Args:
        asked: The value of ``--web``; ``None``: no page.
    """
    if asked is None:
        yield None
        return
    from orchestrator.web.drives import Drives  # noqa: PLC0415  # with aiohttp.web and Jinja2 behind it
    from orchestrator.web.server import serve  # noqa: PLC0415  # as above
    from orchestrator.web.site import Site  # noqa: PLC0415  # as above

    settings = resolver.web(port=parse_port(asked))
    drives = Drives()
    site = Site(store=store, vault=vault, drives=drives, read_only=settings.read_only)
    async with serve(site, settings, telemetry.of_page()) as served:
        say_link(served)
        yield drives


def parse_port(asked: str) -> int | None:
    """The port of ``--web PORT``. Raises ``SettingError``."""
    if asked == AUTOMATIC:
        return None
    if not (asked.isascii() and asked.isdecimal() and int(asked) <= 65535):
        raise SettingError("web", f"{asked!r} is not a port")
    return int(asked)


def say_link(served: Served) -> None:
    """Print the link that opens the page. It is printed nowhere else: it holds the token."""
    stderr().print(f"page: {served.link.reveal()}")
