"""Ctrl-C while the database does not answer: the first says so, the second ends the program, and the run can be resumed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.crash.launcher import Launcher
from tests.support.postgresql import Server, new_schema
from tests.support.tenant import assert_each_once, sandbox

PATIENT = ("--store-timeout", "600", "--lease", "600", "--grace", "600")
"""Nothing ends by itself while a test waits."""


async def until_said(launcher: Launcher, text: str) -> None:
    """Wait for a message."""
    with anyio.fail_after(60):
        while text not in " ".join(launcher.said().split()):
            assert launcher.exit_code is None, launcher.said()
            await anyio.sleep(0.02)


@pytest.mark.parametrize(("outage", "processes"), [("killed", "1"), ("frozen", "2")])
async def test_the_second_ctrl_c_does_not_wait_for_the_database(home: Path, server: Server, outage: str, processes: str) -> None:
    async with sandbox("*:latency=0.02") as emulator:
        launcher = Launcher(home, emulator, f"{server.url}&schema={new_schema()}")
        launcher.begin("run", "--instances", "20", "--concurrency", "5", "--processes", processes, *PATIENT)
        try:
            with anyio.fail_after(60):
                while not launcher.called(60):
                    await anyio.sleep(0.01)
            if outage == "killed":
                await anyio.to_thread.run_sync(server.kill)
                await until_said(launcher, "does not answer")
            else:
                server.signal_all(signal.SIGSTOP)
            await anyio.sleep(4.0)  # longer than an answer takes; the launcher of worker processes asks once a second
            os.kill(launcher.pid, signal.SIGINT)
            await until_said(launcher, "press again to stop at once")
            assert "has not answered for" in " ".join(launcher.said().split())
            os.kill(launcher.pid, signal.SIGINT)
            assert await launcher.ended() == 130, launcher.said()
        finally:
            if outage == "frozen":
                server.signal_all(signal.SIGCONT)
            launcher.kill()
        said = " ".join(launcher.said().split())
        assert "interrupted: the store" in said
        assert "to continue: orchestrator resume" in said
        assert "Traceback" not in said
        if not server.is_running:
            await anyio.to_thread.run_sync(server.start)
        launcher.begin("resume")
        assert await launcher.ended() == 0, launcher.said()
        assert_each_once(emulator, 20)
