"""What the buttons of the pages do."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import ConfigurationError
from orchestrator.inspection.snapshot import snapshot
from orchestrator.web.controls import Action, controls_of
from orchestrator.web.site import SITE, number_of, run_of


async def on_run(request: web.Request) -> web.Response:
    """Stop, resume, retry or clean up a run, then show it."""
    site, run = request.app[SITE], await run_of(request)
    action = await _action(request)
    found = await snapshot(run, await site.measured.of(run.record.id))
    controls = controls_of(site, found)
    if action not in [control.action for control in controls.buttons]:
        raise ConfigurationError(f"Run {run.record.id} cannot do that now. {controls.why_not}".strip())
    if action is Action.STOP:
        driven = site.drives.get(run.record.id)
        assert driven is not None
        driven.stop()
    else:
        assert site.planner is not None
        await site.drives.begin(site.planner.again(action.value, run.record.workflow, run.record.id, None))
    raise web.HTTPSeeOther(f"/runs/{run.record.id}")


async def on_instance(request: web.Request) -> web.Response:
    """Retry an instance, then show it."""
    site, run, number = request.app[SITE], await run_of(request), number_of(request)
    action = await _action(request)
    if action is not Action.RETRY or site.planner is None or site.drives.tasks is None:
        raise ConfigurationError(f"Instance {run.record.id}-{number} cannot do that here.")
    await site.drives.begin(site.planner.again(action.value, run.record.workflow, run.record.id, number))
    raise web.HTTPSeeOther(f"/runs/{run.record.id}/instances/{number}")


async def _action(request: web.Request) -> Action:
    form = await request.post()
    try:
        return Action(str(form.get("action", "")))
    except ValueError:
        raise ConfigurationError("The form names no action of a run.") from None
