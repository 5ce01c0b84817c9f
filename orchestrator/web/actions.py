"""The actions behind the buttons of the pages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from aiohttp import web

from orchestrator.driving.wishes import STOPPED
from orchestrator.errors import ConfigurationError, SettingError, UnknownRunError, shortened
from orchestrator.inspection.snapshot import Snapshot
from orchestrator.lifecycle.changes import Change
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.web.controls import Action, controls_of, controls_of_instance
from orchestrator.web.site import SITE, Site, number_of, run_of

CHANGE_AHEAD_S = 4.0
"""How much later a change takes effect: the processes that drive the run look every second, and store the time of the scenario every
two seconds."""


async def on_run(request: web.Request) -> web.Response:
    """Perform the action of a button on a run, then show the run."""
    site, run = request.app[SITE], await run_of(request)
    form = await request.post()
    action = _action(form)
    found = await site.snapshot(run)
    controls = controls_of(site, found)
    if not controls.offers(action):
        raise ConfigurationError(f"Run {run.record.id} cannot do that now. {controls.why_not}".strip())
    if action is Action.STOP:
        await _stop(site, run.record.id)
    elif action is Action.CHANGE:
        await site.store.change_scenario(run.record.id, partial(_changed, found, str(form.get("value", ""))))
    else:
        assert site.planner is not None
        await site.drives.begin(site.planner.again(action.value, run.record.workflow, run.record.id, None))
    raise web.HTTPSeeOther(f"/runs/{run.record.id}")


async def _stop(site: Site, run_id: str) -> None:
    """Stop our own run now; another process looks into the store."""
    driven = site.drives.get(run_id)
    if driven is not None:
        driven.stop(STOPPED)
    await site.store.ask_to_stop(run_id)


def _changed(found: Snapshot, text: str, scenario: Scenario) -> Scenario:
    try:
        value = float(text)
    except ValueError:
        raise SettingError("change", f"{shortened(text)} is not a number") from None
    return scenario.with_change(Change(at=round(found.elapsed + CHANGE_AHEAD_S, 1), value=value, asked_at=found.at))


async def on_instance(request: web.Request) -> web.Response:
    """Retry an instance, or roll it back, then show it."""
    site, run, number = request.app[SITE], await run_of(request), number_of(request)
    action = _action(await request.post())
    instance = await run.instance(number)
    if instance is None:
        raise UnknownRunError(f"instance {run.record.id}-{number}", site.store.where)
    controls = controls_of_instance(site, run.record, run.workflow, instance)
    if not controls.offers(action):
        raise ConfigurationError(f"Instance {instance.id} cannot do that now. {controls.why_not}".strip())
    assert site.planner is not None
    await site.drives.begin(site.planner.again(action.value, run.record.workflow, run.record.id, number))
    raise web.HTTPSeeOther(f"/runs/{run.record.id}/instances/{number}")


def _action(form: Mapping[str, object]) -> Action:
    try:
        return Action(str(form.get("action", "")))
    except ValueError:
        raise ConfigurationError("The form names no action of a run or an instance.") from None
