"""What a campaign does to a run while it goes on: a process of the run, of its cluster or of its database is killed, told to end, or
frozen for a while."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from random import Random

import anyio
import anyio.to_thread
import attrs
import psutil

from tests.crash.fleet import Fleet
from tests.crash.launcher import Launcher
from tests.support.postgresql import Server

HOW = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)


class Kind(StrEnum):
    """The victim of a hit."""

    WORKER = "worker"
    NANNY = "nanny"
    LAUNCHER = "launcher"
    SCHEDULER = "scheduler"
    BACKEND = "backend"
    """The database's process for one connection."""
    DATABASE = "database"


@attrs.define
class Hit:
    """Something that was done to a run."""

    kind: Kind
    pid: int
    how: str
    began: float
    """Unix time."""
    ended: float | None = None
    """When the victim was thawed, or the database was there again."""

    def __str__(self) -> str:
        lasted = "" if self.ended is None else f" for {self.ended - self.began:.1f} s"
        return f"{self.how} {self.kind} {self.pid}{lasted}"


class Hunter:
    """Chooses victims, and hits them.

    Args:
        lease_s: The lease of the run: a frozen process is thawed before or after it expires.
        server: The database, if the campaign may hit it.
        fleet: The cluster that drives the run, if there is one.
    """

    def __init__(
        self, random: Random, launcher: Launcher, lease_s: float, server: Server | None = None, fleet: Fleet | None = None
    ) -> None:
        self.hits: list[Hit] = []
        self.seen: set[int] = set()
        """All processes of the run that were there at some time."""
        self._random = random
        self._launcher = launcher
        self._lease_s = lease_s
        self._server = server
        self._fleet = fleet

    def pids(self) -> set[int]:
        """All processes of the run, now and before."""
        for found in self._by_kind().values():
            self.seen.update(found)
        return self.seen

    async def hit(self, tasks: anyio.abc.TaskGroup) -> Hit | None:
        """Hit something. A frozen process is thawed by one of ``tasks``. ``None``: there was nothing to hit."""
        self.pids()
        weights = {
            Kind.WORKER: 6, Kind.LAUNCHER: 2, Kind.NANNY: 2, Kind.SCHEDULER: 1,
            Kind.BACKEND: 2 * bool(self._server), Kind.DATABASE: 2 * bool(self._server),
        }  # fmt: skip
        kind = self._random.choices(list(weights), list(weights.values()))[0]
        how = self._random.choice(HOW)
        frozen_s = self._random.uniform(0.1, 2.0 * self._lease_s)
        outage_s = self._random.uniform(0.0, 1.0)
        which = self._random.random()
        if kind is Kind.DATABASE:
            return await self._hit_database(how, outage_s)
        there = await anyio.to_thread.run_sync(self._server.backends) if kind is Kind.BACKEND else self._by_kind()[kind]
        if not there:
            return None
        pid = there[int(which * len(there))]
        hit = Hit(kind, pid, how.name, time.time())
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            return None
        self.hits.append(hit)
        if how is signal.SIGSTOP:
            # A statement that waits for a frozen backend is repeated after the store's time-out only.
            tasks.start_soon(_thaw_later, hit, outage_s if kind is Kind.BACKEND else frozen_s)
        return hit

    async def _hit_database(self, how: signal.Signals, seconds: float) -> Hit:
        assert self._server is not None
        name = {signal.SIGKILL: "kill", signal.SIGTERM: "restart", signal.SIGSTOP: "freeze"}[how]
        hit = Hit(Kind.DATABASE, 0, name, time.time())
        self.hits.append(hit)
        if how is signal.SIGKILL:
            await anyio.to_thread.run_sync(self._server.kill)
            await anyio.sleep(seconds)
            await anyio.to_thread.run_sync(self._server.start)
        elif how is signal.SIGTERM:
            await anyio.to_thread.run_sync(self._server.restart)
        else:
            await anyio.to_thread.run_sync(self._server.signal_all, how)
            await anyio.sleep(seconds)
            await anyio.to_thread.run_sync(self._server.signal_all, signal.SIGCONT)
        hit.ended = time.time()
        return hit

    def _by_kind(self) -> dict[Kind, Sequence[int]]:
        found: dict[Kind, Sequence[int]] = dict.fromkeys(Kind, ())
        found[Kind.LAUNCHER] = [self._launcher.pid] if self._launcher.exit_code is None else []
        if self._fleet is not None:
            found[Kind.SCHEDULER], found[Kind.NANNY] = self._fleet.schedulers, self._fleet.nannies
            found[Kind.WORKER] = [pid for nanny in self._fleet.nannies for pid in children(nanny, "spawn_main")]
            return found
        found[Kind.WORKER] = children(self._launcher.pid, "spawn_main")
        return found


def children(pid: int, name: str = "") -> list[int]:
    """The children of a process whose command has this text in it."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with suppress(psutil.NoSuchProcess):
                if name in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child.pid)
    return sorted(found)


async def _thaw_later(hit: Hit, seconds: float) -> None:
    try:
        await anyio.sleep(seconds)
    finally:
        hit.ended = time.time()
        with suppress(ProcessLookupError):
            os.kill(hit.pid, signal.SIGCONT)
