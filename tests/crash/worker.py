"""A real process that runs the command line and kills itself at a given point. It is forked from a server that has
imported everything, so that a hundred crashes take seconds."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import attrs

from orchestrator import Event, EventKind, Options, RunStatus, Vault, open_store
from orchestrator import start as start_run
from orchestrator.cli import main
from states.token_fulfillment import WORKFLOW, TokenFulfillmentSettings


@attrs.frozen
class KillAt:
    """Kills the process at the ``nth`` event of this kind in this state and handler."""

    kind: EventKind
    state: str
    handler: str | None
    nth: int = 1
    _seen: list[int] = attrs.field(factory=lambda: [0])

    def __call__(self, event: Event) -> None:
        if (event.kind, event.state, event.handler) == (self.kind, self.state, self.handler):
            self._seen[0] += 1
            if self._seen[0] == self.nth:
                os.kill(os.getpid(), signal.SIGKILL)


def context() -> ForkServerContext:
    """Start processes by forking a server that has imported this module."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__, "states.token_fulfillment", "uvloop"])
    return found


def start(argv: Sequence[str], environ: Mapping[str, str], output: Path, kill: KillAt | None = None) -> ForkServerProcess:
    """Run ``orchestrator ARGV`` in a separate process; stdout and stderr go to ``output``."""
    process = context().Process(target=_run, args=(list(argv), dict(environ), str(output), kill))
    process.start()
    return process


def start_embedded() -> ForkServerProcess:
    """Embed a run and cancel its own task in the middle; exit with 0 if the run is interrupted then."""
    process = context().Process(target=_embedded)
    process.start()
    return process


def _embedded() -> None:
    async def main() -> RunStatus:
        async with open_store("memory:") as store:

            async def onboard() -> None:
                options = Options(vault=Vault(bytes(32), "the test"))
                async with start_run(WORKFLOW, TokenFulfillmentSettings(), store=store, instances=500, options=options) as run:
                    async for event in run.events():
                        if event.state == "create_user":
                            asyncio.get_running_loop().call_soon(task.cancel)

            task = asyncio.create_task(onboard())
            await asyncio.wait([task])
            assert task.cancelled()
            return (await store.runs()).runs[0].status

    os._exit(0 if asyncio.run(main()) is RunStatus.INTERRUPTED else 1)


def _run(argv: list[str], environ: dict[str, str], output: str, kill: KillAt | None) -> None:
    os.environ.update(environ)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os._exit(_main(argv, kill))


def _main(argv: list[str], kill: KillAt | None) -> int:
    try:
        return main(argv, [kill] if kill else [])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
