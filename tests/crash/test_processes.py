"""Runs on worker processes that are killed, frozen or interrupted. The sandbox's audit and the store show whether everything happened
once. See ``test_lives.py`` for hits at random moments."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.crash.launcher import Launcher
from tests.support.tenant import sandbox
from tests.support.waiting import until

INSTANCES = 40


@asynccontextmanager
async def loading(home: Path, *argv: str, latency: float = 0.01) -> AsyncIterator[Launcher]:
    """A load run on two worker processes that both drive."""
    async with sandbox(f"*:latency={latency}") as emulator:
        launcher = Launcher(home, emulator)
        launcher.begin("load", "--instances", str(INSTANCES), "--concurrency", "8", "--processes", "2", *argv)
        try:
            await until(lambda: launcher.called(60))
            await until(launcher.has_two_workers)
            yield launcher
        finally:
            launcher.kill()


async def test_the_run_of_a_killed_worker_ends_by_itself(home: Path) -> None:
    async with loading(home) as launcher:
        os.kill((await launcher.workers())[0], signal.SIGKILL)
        assert await launcher.ended() == 0, launcher.said()
        await launcher.check_end(INSTANCES)
        assert "Traceback" not in launcher.said()


async def test_ctrl_c_reaches_the_whole_group_and_the_run_is_resumed_by_one_process_more(home: Path) -> None:
    async with loading(home) as launcher:
        os.killpg(launcher.pid, signal.SIGINT)
        assert await launcher.ended() == 130, launcher.said()
        assert "resume" in launcher.said()
        assert await launcher.workers() == []
        assert "Traceback" not in launcher.said()
        launcher.begin("resume", launcher.run, "--processes", "3")
        assert await launcher.ended() == 0, launcher.said()
        await launcher.check_end(INSTANCES)


async def test_the_workers_of_a_killed_launcher_end_and_the_run_is_resumed_by_one_process(home: Path) -> None:
    async with loading(home) as launcher:
        workers = await launcher.workers()
        os.kill(launcher.pid, signal.SIGKILL)
        assert await launcher.ended() == -signal.SIGKILL
        await until(lambda: not any(psutil.pid_exists(pid) for pid in workers))
        launcher.begin("resume", launcher.run)
        assert await launcher.ended() == 0, launcher.said()
        await launcher.check_end(INSTANCES)


async def test_the_run_of_a_frozen_worker_ends_after_its_lease(home: Path) -> None:
    async with loading(home, "--lease", "2") as launcher:
        os.kill((await launcher.workers())[0], signal.SIGSTOP)
        assert await launcher.ended() == 0, launcher.said()
        await launcher.check_end(INSTANCES)


async def test_all_workers_share_the_embedded_sandbox_and_it_survives_a_kill_of_the_launcher(home: Path) -> None:
    async with sandbox() as unused:
        launcher = Launcher(home, unused)
        launcher.forget_tenant()
        launcher.begin("load", "--instances", "24", "--concurrency", "6", "--processes", "2", "--rates", "configuration=60")
        try:
            await until((home / "data" / "orchestrator" / "runs.db").exists)
            await until(launcher.has_two_workers)
            os.kill(launcher.pid, signal.SIGKILL)
            await launcher.ended()
            launcher.begin("resume", launcher.run, "--processes", "2")
            assert await launcher.ended() == 0, launcher.said()
        finally:
            launcher.kill()
    assert "24 completed" in launcher.said()
    assert "Nothing of it exists in the environment." in launcher.said()
