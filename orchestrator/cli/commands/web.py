"""The command ``web``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio

from orchestrator.cli.console import stderr
from orchestrator.cli.driving import options_of
from orchestrator.cli.interrupt import watch_signals
from orchestrator.cli.opening import opened_store
from orchestrator.cli.page import SettingsPlanner, say_link
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.telemetry import Telemetry, open_telemetry
from orchestrator.lifecycle.events import Observer
from orchestrator.report.exit_codes import ExitCode
from orchestrator.web.drives import Drives
from orchestrator.web.server import serve
from orchestrator.web.site import Site


async def command(observers: Sequence[Observer], *, config: Path | None = None, **flags: object) -> int:
    """Show runs in the browser: live, finished or interrupted, of any process. Starts and continues them, too.

    Open the printed link: it holds a token that is new with every start. Only this machine can reach the page, unless
    --allow-remote is given with TLS or with a proxy. Ctrl-C stops the page; runs that it drives are suspended.

    Examples:
      orchestrator web
      orchestrator web --port 9000 --store /var/lib/orchestrator/runs.db --read-only
      orchestrator web --address 0.0.0.0 --allow-remote --certificate web.pem --private-key web.key
    """
    resolver = Resolver(flags, config)
    engine, settings = resolver.engine().value, resolver.web()
    resolver.check_tables()
    vault = resolver.vault(create=not settings.read_only)
    async with (
        open_telemetry(resolver.telemetry().value) as telemetry,
        opened_store(engine, create=not settings.read_only) as store,
    ):
        options = options_of(resolver, engine, vault, observers, telemetry)
        drives = Drives(begun=telemetry.attach, ended=lambda run: telemetry.detach(run.id))
        site = Site(
            store=store,
            vault=vault,
            drives=drives,
            planner=SettingsPlanner(store, vault, options, config, telemetry),
            read_only=settings.read_only,
        )
        async with serve(site, settings, telemetry.of_page()) as served:
            say_link(served)
            for notice in telemetry.notices:
                stderr().print(notice)
            await _until_stopped(drives, telemetry, options.grace_s)
    return ExitCode.SUCCESS


async def _until_stopped(drives: Drives, telemetry: Telemetry, grace_s: float) -> None:
    """Drive runs for the page until the first signal; then suspend them, and at the second signal at once."""
    stopping = anyio.Event()

    def drain(name: str) -> None:
        if drives.running:
            stderr().print(f"{name}: suspending the runs of this page (up to {grace_s:g} s); press again to stop at once")
        drives.stop_all()
        stopping.set()

    def cancel(name: str) -> None:
        drives.cancel_all()

    async with anyio.create_task_group() as signals:
        signals.start_soon(partial(watch_signals, drain, cancel))
        signals.start_soon(telemetry.keep_up)
        async with anyio.create_task_group() as tasks:
            drives.tasks = tasks
            await stopping.wait()
            drives.tasks = None
        signals.cancel_scope.cancel()
    for run_id, error in drives.errors.items():
        stderr().print(f"run {run_id}: {error}")
