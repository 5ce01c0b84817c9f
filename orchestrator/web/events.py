"""Event streams: the parts of a page that have changed, sent to the browser while it is open.

A stream reads the run every two seconds, or less often if rendering takes long, so that an open page costs at most
``MOST_SHARE`` of a processor. It sends the changes since then. JSON on one line carries every text, so a line break in a name or
a message cannot begin a new event.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import anyio
import orjson
from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionResetError

from orchestrator.web.render import problem
from orchestrator.web.run import chart_values
from orchestrator.web.run_view import PARTS, RunView, view_of
from orchestrator.web.runs import Query, list_fragment
from orchestrator.web.site import SITE, run_of
from orchestrator.web.timed import Timed

EVERY_S = 2.0
"""How often a stream reads, at most. Measurements are stored as often."""
MOST_SHARE = 0.02
"""The share of a processor that one stream may take."""
HEARTBEAT_S = 15.0
"""A comment is sent at least this often: writing it finds out that the browser has gone."""
STREAMS_MOST = 64
"""Open streams. Each takes a connection and some time of the processor."""


class Streams:
    """The open streams of a server."""

    def __init__(self) -> None:
        self.open = 0
        self.spent_s = 0.0
        """CPU time that all streams took."""
        self.closing = anyio.Event()


OPEN_STREAMS = web.AppKey("streams", Streams)
_Changes = AsyncGenerator[Mapping[str, object]]
"""Name of an event → its data, as they change; empty: nothing has."""


async def close_streams(app: web.Application) -> None:
    """End all streams: the server stops."""
    app[OPEN_STREAMS].closing.set()


async def of_run(request: web.Request) -> web.StreamResponse:
    """The changes of a run's page."""
    await run_of(request)  # refuse an unreadable run before the stream begins
    return await _stream(request, _run_changes(request))


async def of_runs(request: web.Request) -> web.StreamResponse:
    """The changes of the list of runs."""
    return await _stream(request, _list_changes(request))


async def _run_changes(request: web.Request) -> _Changes:
    shown: dict[str, str] = {}
    view: RunView | None = None
    while True:
        run = await run_of(request)
        view = await view_of(request.app[SITE], run, view)
        changes: dict[str, object] = {"parts": _changed(shown, {name: view.part(name) for name in PARTS})}
        charts = orjson.dumps(chart_values(run, view.found.statistics, request.query.get("series", ""))).decode()
        if _changed(shown, {"charts": charts}):
            changes["charts"] = orjson.Fragment(charts)
        yield {name: data for name, data in changes.items() if data}


async def _list_changes(request: web.Request) -> _Changes:
    shown: dict[str, str] = {}
    while True:
        text = await list_fragment(request.app[SITE], Query.of(request.query))
        changed = _changed(shown, {"list": text})
        yield {"parts": changed} if changed else {}


def _changed(shown: dict[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The parts that differ from those shown; they count as shown from now on."""
    changed = {name: text for name, text in now.items() if shown.get(name) != text}
    shown.update(changed)
    return changed


async def _stream(request: web.Request, changes: _Changes) -> web.StreamResponse:
    streams = request.app[OPEN_STREAMS]
    if streams.open >= STREAMS_MOST:
        return problem(503, "Too many pages are open; close some of them.")
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    streams.open += 1
    try:
        await answer.prepare(request)
        async with aclosing(changes):
            await _send(answer, changes, streams)
    except (ClientConnectionResetError, ConnectionResetError):
        pass  # the browser has left the page
    finally:
        streams.open -= 1
    return answer


async def _send(answer: web.StreamResponse, changes: _Changes, streams: Streams) -> None:
    quiet_since = time.monotonic()
    while not streams.closing.is_set():
        work = Timed(anext(changes))
        changed = await work
        streams.spent_s += work.spent_s
        for name, data in changed.items():
            await answer.write(b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data)))
        if changed or time.monotonic() - quiet_since > HEARTBEAT_S:
            quiet_since = time.monotonic()
            await answer.write(b": \n\n")
        with anyio.move_on_after(max(EVERY_S, work.spent_s / MOST_SHARE)):
            await streams.closing.wait()
