"""Worker processes that are killed before they are ready."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio

from orchestrator.cluster.nanny import STARTS
from tests.crash.launcher import Launcher
from tests.crash.victims import children
from tests.support.tenant import sandbox


async def kill_new_workers(launcher: Launcher, most: int) -> int:
    """Kill each worker process as soon as it is there, until ``most`` are killed or the launcher has ended. Returns their number."""
    killed: set[int] = set()
    while len(killed) < most and launcher.exit_code is None:
        await anyio.sleep(0.005)
        for pid in children(launcher.pid, "spawn_main"):
            if pid not in killed and len(killed) < most:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
    return len(killed)


async def test_workers_that_are_killed_before_they_are_ready_are_started_again(home: Path) -> None:
    async with sandbox() as emulator:
        launcher = Launcher(home, emulator)
        launcher.begin("load", "--instances", "8", "--concurrency", "4", "--processes", "2")
        try:
            assert await kill_new_workers(launcher, 3) == 3
            assert await launcher.ended() == 0, launcher.said()
        finally:
            launcher.kill()
        assert "8 completed" in launcher.said()


async def test_workers_that_are_always_killed_end_the_run_with_the_reason(home: Path) -> None:
    async with sandbox() as emulator:
        launcher = Launcher(home, emulator)
        launcher.begin("load", "--instances", "8", "--concurrency", "4", "--processes", "2")
        try:
            # One of two nannies gives up first.
            assert STARTS <= await kill_new_workers(launcher, 100) <= 2 * STARTS
            assert await launcher.ended() == 2, launcher.said()
        finally:
            launcher.kill()
    said = " ".join(launcher.said().split())
    assert (
        "the worker processes cannot start: a worker process was killed by SIGKILL before it was ready, again and again" in said
    )
    assert "__main__" not in said
    assert "orchestrator resume" in said
    assert "Traceback" not in said
