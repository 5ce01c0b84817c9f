"""Runs on worker processes that are killed, frozen or interrupted. The sandbox's audit and the store show whether everything happened
once. For a campaign of more lives, set the variable PROCESS_LIVES to their number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import anyio
import anyio.to_thread
import psutil
import pytest

from orchestrator import RunStatus, Status, open_store
from orchestrator.storage.lease import Owner
from states.sandbox import Sandbox
from tests.support.tenant import assert_nothing_left, sandbox, variables_for

INSTANCES = 40


class Launcher:
    """The command line in a process group of its own, as in a terminal."""

    def __init__(self, home: Path, emulator: Sandbox) -> None:
        self.emulator = emulator
        self.store = f"sqlite:{home / 'data' / 'orchestrator' / 'runs.db'}"
        self.run = ""
        self._output = home / "output.txt"
        self._environ = os.environ | variables_for(emulator) | {"XDG_DATA_HOME": str(home / "data")}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process of the latest command, which leads its group."""
        assert self._process is not None
        return self._process.pid

    def forget_tenant(self) -> None:
        """Let commands use the embedded sandbox."""
        self._environ = {name: value for name, value in self._environ.items() if not name.startswith("PINGONE_")}

    def begin(self, *argv: str) -> None:
        """Start a command."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *argv],
                env=self._environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End the command and its group."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    async def ended(self) -> int:
        """Wait for the command. Returns its exit code."""
        assert self._process is not None
        with anyio.fail_after(90):
            return await anyio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)

    def said(self) -> str:
        """The output of all commands."""
        return self._output.read_text()

    def called(self, count: int) -> bool:
        """Whether the sandbox has received so many calls."""
        return len(self.emulator.environment.audit.calls) >= count

    async def workers(self) -> list[int]:
        """Processes that drive a shard now, other than the launcher."""
        async with open_store(self.store, create=False) as store:
            runs = (await store.runs()).runs
            if not runs:
                return []
            self.run = runs[0].id
            shards = await store.shards(self.run)
        owners = {Owner.loads(shard.owner).pid for shard in shards if shard.owner is not None}
        return sorted(pid for pid in owners - {self.pid} if psutil.pid_exists(pid))

    async def check_end(self, instances: int = INSTANCES) -> None:
        """Every instance has completed once, and nothing is left."""
        assert_nothing_left(self.emulator)
        assert self.emulator.audit()["created"]["application"] == instances
        async with open_store(self.store, create=False) as store:
            assert (await store.run(self.run)).status is RunStatus.FINISHED
            counts = await store.counts(self.run)
        assert {status: count for (status, _), count in counts.items()} == {Status.COMPLETED: instances}


async def until(what: Callable[[], bool]) -> None:
    """Wait for a condition."""
    with anyio.fail_after(60):
        while not what():
            await anyio.sleep(0.01)


@asynccontextmanager
async def loading(home: Path, *argv: str, latency: float = 0.01) -> AsyncIterator[Launcher]:
    """A load run on two worker processes that both drive."""
    async with sandbox(f"*:latency={latency}") as emulator:
        launcher = Launcher(home, emulator)
        launcher.begin("load", "--instances", str(INSTANCES), "--concurrency", "8", "--processes", "2", *argv)
        try:
            await until(lambda: launcher.called(60))
            with anyio.fail_after(30):
                while len(await launcher.workers()) < 2:
                    await anyio.sleep(0.02)
            yield launcher
        finally:
            launcher.kill()


async def test_the_run_of_a_killed_worker_ends_by_itself(home: Path) -> None:
    async with loading(home) as launcher:
        os.kill((await launcher.workers())[0], signal.SIGKILL)
        assert await launcher.ended() == 0, launcher.said()
        await launcher.check_end()
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
        await launcher.check_end()


async def test_the_workers_of_a_killed_launcher_end_and_the_run_is_resumed_by_one_process(home: Path) -> None:
    async with loading(home) as launcher:
        workers = await launcher.workers()
        os.kill(launcher.pid, signal.SIGKILL)
        assert await launcher.ended() == -signal.SIGKILL
        await until(lambda: not any(psutil.pid_exists(pid) for pid in workers))
        launcher.begin("resume", launcher.run)
        assert await launcher.ended() == 0, launcher.said()
        await launcher.check_end()


async def test_the_run_of_a_frozen_worker_ends_after_its_lease(home: Path) -> None:
    async with loading(home, "--lease", "2") as launcher:
        os.kill((await launcher.workers())[0], signal.SIGSTOP)
        assert await launcher.ended() == 0, launcher.said()
        await launcher.check_end()


async def test_all_workers_share_the_embedded_sandbox_and_it_survives_a_kill_of_the_launcher(home: Path) -> None:
    async with sandbox() as unused:
        launcher = Launcher(home, unused)
        launcher.forget_tenant()
        launcher.begin("load", "--instances", "24", "--concurrency", "6", "--processes", "2", "--rates", "configuration=60")
        try:
            with anyio.fail_after(60):
                while not Path(home / "data" / "orchestrator" / "runs.db").exists() or len(await launcher.workers()) < 2:
                    await anyio.sleep(0.05)
            os.kill(launcher.pid, signal.SIGKILL)
            await launcher.ended()
            launcher.begin("resume", launcher.run, "--processes", "2")
            assert await launcher.ended() == 0, launcher.said()
        finally:
            launcher.kill()
    assert "24 completed" in launcher.said()
    assert "Nothing of it exists in the environment." in launcher.said()


@pytest.mark.skipif("PROCESS_LIVES" not in os.environ, reason="a campaign: set PROCESS_LIVES to the number of lives")
@pytest.mark.parametrize("seed", range(int(os.environ.get("PROCESS_LIVES", "0"))))
async def test_a_life_of_kills_and_freezes_at_random(home: Path, seed: int) -> None:
    random = Random(seed)
    async with loading(home, "--lease", "3", latency=0.02) as launcher:
        code = None
        for _ in range(random.randrange(1, 5)):
            with anyio.move_on_after(random.uniform(0.0, 2.5)):
                code = await launcher.ended()
            if code is not None:
                break
            victims = [*await launcher.workers(), launcher.pid]
            victim, how = random.choice(victims), random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
            with suppress(ProcessLookupError):
                if victim == launcher.pid and how is signal.SIGSTOP:
                    os.kill(victim, how)
                    await anyio.sleep(random.uniform(0.1, 4.0))
                    os.kill(victim, signal.SIGCONT)
                else:
                    os.kill(victim, how)
            if victim == launcher.pid and how is not signal.SIGSTOP:
                await launcher.ended()
                await anyio.sleep(3.1)
                launcher.begin("resume", launcher.run, "--processes", str(random.randrange(1, 4)), "--lease", "3")
        while await launcher.ended() != 0:
            await anyio.sleep(3.1)
            launcher.begin("resume", launcher.run, "--lease", "3")
        await launcher.check_end()
