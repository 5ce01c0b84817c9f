"""The application: its routes, and the errors of the engine as pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path

from aiohttp import web

from orchestrator.errors import ConfigurationError, OrchestratorError, UnknownRunError
from orchestrator.web import actions, compare, events, instance, run, runs, start
from orchestrator.web.access import Access, add_headers, guard
from orchestrator.web.render import FOLDERS, problem
from orchestrator.web.site import SITE, Site

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Extension = Callable[[web.Application], None]
"""Adds routes to the application, e.g. ``/metrics``. They are guarded like all others."""

ROUTES = [
    web.get("/", runs.show),
    web.get("/events", events.of_runs),
    web.get("/start", start.show),
    web.post("/start", start.submit),
    web.get("/compare", compare.show),
    web.get("/runs/{run}", run.show),
    web.post("/runs/{run}", actions.on_run),
    web.get("/runs/{run}/events", events.of_run),
    web.get("/runs/{run}/charts", run.charts),
    web.get("/runs/{run}/spark.svg", runs.sparkline),
    web.get("/runs/{run}/report.html", run.report),
    web.get("/runs/{run}/report.json", run.report_json),
    web.get("/runs/{run}/instances", run.instances),
    web.get("/runs/{run}/instances/{number}", instance.show),
    web.post("/runs/{run}/instances/{number}", actions.on_instance),
    web.get("/runs/{run}/instances/{number}/requests.har", instance.archive),
]
CHARACTERS_MOST = 200_000
"""Bytes of a form. A longer one is refused."""


def make_app(site: Site, access: Access, extensions: Sequence[Extension] = ()) -> web.Application:
    """The page as an application.

    Args:
        extensions: Add further routes.
    """
    app = web.Application(middlewares=[guard(access, problem), _explain], client_max_size=CHARACTERS_MOST)
    app[SITE] = site
    app[events.OPEN_STREAMS] = events.Streams()
    app.on_response_prepare.append(add_headers)
    app.on_shutdown.append(events.close_streams)
    app.add_routes(ROUTES)
    for folder, package in FOLDERS.items():
        app.router.add_static(f"/{folder}", Path(str(files(package))) / folder)
    for extend in extensions:
        extend(app)
    return app


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn the errors of the engine and of the server into pages."""
    try:
        return await handler(request)
    except UnknownRunError as error:
        return problem(404, str(error))
    except ConfigurationError as error:
        return problem(409, str(error))
    except OrchestratorError as error:
        return problem(500, str(error))
    except web.HTTPNotFound:
        return problem(404, "There is no such page.")
    except web.HTTPMethodNotAllowed:
        return problem(405, "This page takes no such request.")
    except web.HTTPRequestEntityTooLarge:
        return problem(413, "The form is too long.")
