"""A cluster on this machine, whose processes are started again when they end, as an orchestrator of containers does."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from tests.crash.launcher import Launcher, end_group

LOOK_EVERY_S = 0.2


class Fleet:
    """A scheduler, and workers with a nanny each."""

    def __init__(self, launcher: Launcher, workers: int, output: Path) -> None:
        self.address = f"tcp://127.0.0.1:{_free_port()}"
        self._launcher, self._output = launcher, output
        port = self.address.rpartition(":")[2]
        self._commands = [("cluster", "scheduler", "--port", port)]
        self._commands += [("cluster", "worker", self.address, "--processes", "1")] * workers
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ended: list[subprocess.Popen[bytes]] = []
        """Their groups may have members yet: a worker whose nanny was killed."""

    @property
    def schedulers(self) -> list[int]:
        """The scheduler, if it is there."""
        return [process.pid for process in self._processes[:1] if process.poll() is None]

    @property
    def nannies(self) -> list[int]:
        """The processes that start the workers."""
        return [process.pid for process in self._processes[1:] if process.poll() is None]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Fleet]:
        """Run it until the block ends."""
        self._processes = [self._launcher.start(*argv, output=self._output) for argv in self._commands]
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._look_after)
                yield self
                tasks.cancel_scope.cancel()
        finally:
            for process in (*self._processes, *self._ended):
                end_group(process)

    async def _look_after(self) -> None:
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            for index, process in enumerate(self._processes):
                if process.poll() is not None:
                    self._ended.append(process)
                    self._processes[index] = self._launcher.start(*self._commands[index], output=self._output)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
