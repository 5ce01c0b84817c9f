"""The command line in a process group of its own, as in a terminal, and the processes that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import psutil

from orchestrator import RunStatus, Status, open_store
from orchestrator.storage.lease import Owner
from states.sandbox import Sandbox
from tests.support.tenant import assert_nothing_left, variables_for


class Launcher:
    """Runs commands one after another against one sandbox, with one store and one key.

    Args:
        store: URL; ``None``: the default one.
    """

    def __init__(self, home: Path, emulator: Sandbox, store: str | None = None) -> None:
        self.emulator = emulator
        self.store = store or f"sqlite:{home / 'data' / 'orchestrator' / 'runs.db'}"
        self.run = ""
        self._output = home / "output.txt"
        self._environ = os.environ | variables_for(emulator) | {"XDG_DATA_HOME": str(home / "data")}
        if store is not None:
            self._environ["ORCHESTRATOR_STORE"] = store
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process of the latest command, which leads its group."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """That of the latest command, if it has ended."""
        assert self._process is not None
        return self._process.poll()

    def forget_tenant(self) -> None:
        """Let commands use the embedded sandbox."""
        self._environ = {name: value for name, value in self._environ.items() if not name.startswith("PINGONE_")}

    def start(self, *argv: str, output: Path) -> subprocess.Popen[bytes]:
        """Start a command beside the latest one."""
        with output.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *argv],
                env=self._environ,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def begin(self, *argv: str) -> None:
        """Start a command."""
        self._process = self.start(*argv, output=self._output)

    def kill(self) -> None:
        """End the command and its group."""
        if self._process is not None:
            end_group(self._process)

    async def ended(self, seconds: float = 90.0) -> int:
        """Wait for the command. Returns its exit code."""
        assert self._process is not None
        with anyio.fail_after(seconds):
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

    async def has_two_workers(self) -> bool:
        """Whether two processes drive."""
        return len(await self.workers()) >= 2

    async def check_end(self, instances: int) -> None:
        """Every instance has completed once, and nothing is left."""
        assert_nothing_left(self.emulator)
        assert self.emulator.audit()["created"]["application"] == instances
        async with open_store(self.store, create=False) as store:
            assert (await store.run(self.run)).status is RunStatus.FINISHED
            counts = await store.counts(self.run)
        assert {status: count for (status, _), count in counts.items()} == {Status.COMPLETED: instances}


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a command and its process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
