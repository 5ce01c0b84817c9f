"""Commands in separate processes, against one sandbox, with one store and one key."""

from __future__ import annotations

import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import anyio
import anyio.to_thread

from states.sandbox import OPERATIONS, Sandbox, parse_faults
from tests.crash.worker import KillAt, start
from tests.support.tenant import variables_for
from tests.support.waiting import until

KILLED = -signal.SIGKILL


class Shell:
    """Runs commands against one sandbox, with one store and one key."""

    def __init__(self, home: Path, emulator: Sandbox, url: str | None = None) -> None:
        self.emulator = emulator
        self.output = home / "output.txt"
        self._environ = variables_for(emulator) | {"XDG_DATA_HOME": str(home / "data")}
        if url is not None:
            self._environ["PINGONE_BASE_URL"] = url

    def begin(self, *argv: str, kill: KillAt | None = None) -> ForkServerProcess:
        """Start a command without waiting for it."""
        return start(argv, self._environ, self.output, kill)

    async def run(self, *argv: str, kill: KillAt | None = None) -> int | None:
        """Run a command to its end. Returns its exit code."""
        return await ended(self.begin(*argv, kill=kill))

    async def until(self, what: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until a condition on the sandbox holds."""
        await until(what, limit_s=seconds)

    def called(self, operation: str, fault: str | None = None) -> bool:
        """Whether a call was handled, with this fault if one is named."""
        calls = self.emulator.environment.audit.calls
        return any(call.operation == operation and (fault is None or call.fault == fault) for call in calls)

    def said(self) -> str:
        """The output of all commands."""
        return self.output.read_text()


async def ended(process: ForkServerProcess) -> int | None:
    """Wait for a process. Returns its exit code."""
    await anyio.to_thread.run_sync(process.join)
    return process.exitcode


def play(emulator: Sandbox, rule: str) -> None:
    """Inject a fault from now on."""
    for fault in parse_faults(rule, OPERATIONS):
        emulator.faults.add(fault)
