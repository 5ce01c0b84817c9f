"""The server of ``/metrics``. It runs on the event loop of the run, so a scrape sees all numbers at one moment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from orchestrator.errors import SettingError
from orchestrator.telemetry.address import Address
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.prometheus import Exposition

PATH = "/metrics"
SHUTDOWN_S = 1.0
"""How long a scrape in progress may go on when the server ends."""


@asynccontextmanager
async def serve_metrics(metrics: Metrics, address: Address) -> AsyncIterator[str]:
    """Serve metrics while the block lasts; yields the URL.

    Raises:
        SettingError: The address cannot be listened on.
    """
    app = web.Application()
    add_metrics(app, metrics)
    app.add_routes([web.get("/", _front)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except (OSError, UnicodeError) as error:
            raise SettingError("metrics", f"cannot listen on {address}: {_reason(error)}; choose another address") from error
        host, port = runner.addresses[0][:2]
        yield f"http://{Address(host, port)}{PATH}"
    finally:
        await runner.cleanup()


def add_metrics(app: web.Application, metrics: Metrics) -> None:
    """Serve metrics at ``PATH`` of an application, too."""
    exposition = Exposition(metrics)

    async def scrape(request: web.Request) -> web.Response:
        found = exposition.scrape(request.headers.get("Accept", ""))
        return web.Response(body=found.body, headers={"Content-Type": found.content_type})

    app.add_routes([web.get(PATH, scrape)])


async def _front(request: web.Request) -> web.Response:
    return web.Response(text=f"The metrics of this run are at {PATH}\n")


def _reason(error: OSError | UnicodeError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    # asyncio writes a sentence of its own into `strerror`; the resolver's errors have no positive number.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
