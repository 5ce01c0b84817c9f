"""A run that is hit at random moments, resumed until it ends, and then checked from all sides."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import anyio
import attrs
import psutil

from orchestrator import RunStatus, Status, open_store
from orchestrator.load.series import ended
from orchestrator.load.statistics import Statistics
from tests.crash.fleet import Fleet
from tests.crash.launcher import Launcher
from tests.crash.victims import Hit, Hunter, Kind
from tests.crash.witness import ClaimLog, WatchedSandbox, driven_again, strays
from tests.support.postgresql import Server
from tests.support.tenant import assert_nothing_left

LEASE_S = 3.0
END_LIMIT_S = 300.0
"""For one command, on a busy machine."""
LAUNCHES = 30
"""Commands until the run must have ended."""
LOST_S = 4.0
"""Seconds of measurements that a process loses when it is killed: it stores them every two seconds, on a busy machine later."""
INTERRUPTING = {Kind.LAUNCHER, Kind.SCHEDULER, Kind.DATABASE, Kind.BACKEND}
"""Hits after which a command may end without finishing the run."""


@attrs.frozen(kw_only=True)
class Scene:
    """What a life is played with."""

    home: Path
    emulator: WatchedSandbox
    store: str
    schema: str
    load: Sequence[str]
    """Flags of `load`."""
    instances: int | None
    """All of them complete once; ``None``: as many as the scenario wants."""
    hits: int
    pause_s: float
    """Longest time between two hits."""
    server: Server | None = None
    """The database, if it may be hit."""
    cluster: bool = False


@attrs.frozen(kw_only=True)
class Played:
    """How a life went."""

    hits: Sequence[Hit]
    launches: int
    again: Sequence[float]
    """Seconds from the kill of each worker until its shard was driven again."""
    output: str


class Life:
    """One seed."""

    def __init__(self, scene: Scene, random: Random) -> None:
        self._scene = scene
        self._random = random
        self._launcher = Launcher(scene.home, scene.emulator, scene.store)
        self._fleet = Fleet(self._launcher, 2, scene.home / "cluster.txt") if scene.cluster else None
        self._hunter = Hunter(random, self._launcher, LEASE_S, scene.server, self._fleet)
        self._claims = ClaimLog(scene.store, scene.schema)
        self._launches = 0
        scene.emulator.pids = self._hunter.pids

    async def play(self) -> Played:
        """Run it, hit it, resume it until it ends, and check everything."""
        async with open_store(self._scene.store):
            pass
        await self._claims.install()
        try:
            if self._fleet is not None:
                async with self._fleet.running():
                    await self._play()
            else:
                await self._play()
            await self._check_processes()
        finally:
            self._launcher.kill()
        changes = await self._claims.changes()
        frozen = [hit for hit in self._hunter.hits if hit.kind is Kind.WORKER and hit.how == "SIGSTOP"]
        thawed = [(hit.pid, hit.ended) for hit in frozen if hit.ended is not None]
        assert strays(self._scene.emulator, thawed, changes) == [], self.said()
        await self._check_once()
        await self._check_statistics()
        assert "Traceback" not in self._launcher.said(), self.said()
        killed = [hit for hit in self._hunter.hits if hit.kind is Kind.WORKER and hit.how == "SIGKILL"]
        again = [seconds for hit in killed for seconds in driven_again(hit.pid, hit.began, changes)]
        return Played(hits=self._hunter.hits, launches=self._launches, again=again, output=self._launcher.said())

    def said(self) -> str:
        """For a failure: the hits and the output."""
        return "\n".join([*map(str, self._hunter.hits), self._launcher.said()])

    async def _play(self) -> None:
        async with anyio.create_task_group() as tasks:
            self._begin("load", *self._scene.load)
            while not await self._has_finished(tasks):
                pass

    async def _has_finished(self, tasks: anyio.abc.TaskGroup) -> bool:
        """Hit the latest command until the hits are spent, and wait for its end; begin another if the run is not finished."""
        first = len(self._hunter.hits)
        while len(self._hunter.hits) < self._scene.hits and self._launcher.exit_code is None:
            with anyio.move_on_after(self._random.uniform(0.05, self._scene.pause_s)):
                await self._launcher.ended(END_LIMIT_S)
            if self._launcher.exit_code is None:
                await self._hunter.hit(tasks)
        try:
            code = await self._launcher.ended(END_LIMIT_S)
        except TimeoutError:
            raise AssertionError(f"it does not end\n{self.said()}") from None
        if code == 0:
            return True
        said = self._launcher.said()[-2000:]
        # The shards of a dead process are held for a while, and on a busy machine the short lease of a launcher may expire.
        excused = "is driven by" in said or "the lease of run" in said
        interrupted = excused or any(hit.kind in INTERRUPTING for hit in self._hunter.hits[first:])
        assert interrupted, f"it ended with {code}\n{self.said()}"
        assert self._launches < LAUNCHES, f"it is not finished\n{self.said()}"
        await anyio.sleep(1.0)
        await self._begin_again()
        return False

    async def _begin_again(self) -> None:
        async with open_store(self._scene.store, create=False) as store:
            runs = (await store.runs()).runs
        if not runs:
            self._begin("load", *self._scene.load)
        elif self._fleet is not None:
            self._begin("resume", "--lease", f"{LEASE_S:g}", "--cluster", self._fleet.address)
        else:
            self._begin("resume", "--lease", f"{LEASE_S:g}", "--processes", str(self._random.randrange(1, 4)))

    def _begin(self, *argv: str) -> None:
        self._launches += 1
        if argv[0] == "load":
            spread = ("--processes", "2") if self._fleet is None else ("--cluster", self._fleet.address)
            argv = (*argv, "--lease", f"{LEASE_S:g}", *spread)
        self._launcher.begin(*argv)

    async def _check_processes(self) -> None:
        """All processes of the run end by themselves."""
        for hit in self._hunter.hits:
            if hit.how == "SIGSTOP":
                with suppress(ProcessLookupError):
                    os.kill(hit.pid, signal.SIGCONT)
        with anyio.move_on_after(30):
            while _alive(self._hunter.pids()):
                await anyio.sleep(0.1)
        assert not _alive(self._hunter.pids()), f"still there: {_alive(self._hunter.pids())}\n{self.said()}"

    async def _check_once(self) -> None:
        emulator, scene = self._scene.emulator, self._scene
        assert_nothing_left(emulator)
        created = emulator.audit()["created"].get("application", 0)
        async with open_store(scene.store, create=False) as store:
            [run] = (await store.runs()).runs
            assert run.status is RunStatus.FINISHED, self.said()
            rows = await store.load(run.id)
        counts = {status: sum(row.status is status for row in rows) for status in Status}
        if scene.instances is not None:
            assert (created, counts[Status.COMPLETED], len(rows)) == (scene.instances, scene.instances, scene.instances), (
                self.said()
            )
            assert [row.number for row in rows] == list(range(scene.instances))
        else:
            assert counts[Status.COMPLETED] <= created <= len(rows), self.said()
            assert counts[Status.COMPLETED] + counts[Status.ROLLED_BACK] == len(rows), self.said()

    async def _check_statistics(self) -> None:
        """They are whole, but for the last seconds before each hit."""
        async with open_store(self._scene.store, create=False) as store:
            [run] = (await store.runs()).runs
            rows = await store.load(run.id)
            total = Statistics.of(await store.statistics(run.id)).total
        times = [row.updated_at for row in rows if row.status is Status.COMPLETED]
        lost = len(times) - total.counters[ended(Status.COMPLETED.value)]
        uncertain = sum(self._is_uncertain(at) for at in times)
        assert 0 <= lost <= uncertain, f"{lost} completed instances are not measured, {uncertain} may be\n{self.said()}"

    def _is_uncertain(self, at: float) -> bool:
        now = time.time()
        return any(hit.began - LOST_S <= at <= (hit.ended or min(now, hit.began)) + LOST_S for hit in self._hunter.hits)


def _alive(pids: set[int]) -> list[int]:
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE and any(
                "orchestrator" in a or "multiprocessing" in a for a in process.cmdline()
            ):
                found.append(pid)
    return found
