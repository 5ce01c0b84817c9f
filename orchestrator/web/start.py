"""The page with the form that starts a run: its fields are the settings, and it shows an estimate first."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from orchestrator.errors import ConfigurationError, OrchestratorError
from orchestrator.web.planning import Kind, Planned, Planner, Widget
from orchestrator.web.render import page
from orchestrator.web.site import SITE, Site


async def show(request: web.Request) -> web.Response:
    """The form."""
    planner = _planner(request.app[SITE])
    kind = _kind(request.query)
    workflow = _workflow(planner, request.query)
    return await _form(planner, kind, workflow, {})


async def submit(request: web.Request) -> web.Response:
    """Check the form, then show its estimate, or start the run and show it."""
    site = request.app[SITE]
    planner = _planner(site)
    form = await request.post()
    kind, workflow = _kind(form), _workflow(planner, form)
    given = _given(planner, kind, workflow, form)
    try:
        planned = await planner.plan(kind, workflow, given)
        if form.get("action") != "start":
            return await _form(planner, kind, workflow, given, planned=planned)
        run_id = await site.drives.begin(planned.opened)
    except OrchestratorError as error:
        return await _form(planner, kind, workflow, given, problem=str(error))
    raise web.HTTPSeeOther(f"/runs/{run_id}")


async def _form(
    planner: Planner,
    kind: Kind,
    workflow: str,
    given: Mapping[str, object],
    *,
    planned: Planned | None = None,
    problem: str = "",
) -> web.Response:
    return page(
        "start.html",
        status=409 if problem else 200,
        title="Start a run",
        can_start=True,
        kind=kind.value,
        kinds=[one.value for one in Kind],
        workflow=workflow,
        workflows=planner.workflows(),
        groups=planner.fields(kind, workflow, given),
        planned=planned,
        problem=problem,
    )


def _planner(site: Site) -> Planner:
    if site.planner is None or not site.can_begin:
        why = "it was started with --read-only" if site.read_only else "this program drives only its own run"
        raise ConfigurationError(f"No run can be started from this page: {why}.")
    return site.planner


def _kind(values: Mapping[str, object]) -> Kind:
    return next((kind for kind in Kind if kind.value == values.get("kind")), Kind.RUN)


def _workflow(planner: Planner, values: Mapping[str, object]) -> str:
    names = planner.workflows()
    asked = values.get("workflow")
    if asked in names:
        return str(asked)
    if not names:
        raise ConfigurationError("No workflow is installed.")
    return names[0]


def _given(planner: Planner, kind: Kind, workflow: str, form: Mapping[str, object]) -> dict[str, object]:
    """Setting → value of the form. An empty field means the usual value."""
    given: dict[str, object] = {}
    for field in (field for fields in planner.fields(kind, workflow, {}).values() for field in fields):
        text = str(form.get(field.name, "")).replace("\r\n", "\n").strip()
        if field.widget is Widget.CHECKBOX:
            given[field.name] = field.name in form
        elif text:
            given[field.name] = text.split("\n") if field.widget is Widget.LINES else text
    return given
