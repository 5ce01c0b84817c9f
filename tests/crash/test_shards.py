"""A run of two shards, each driven by its own process, killed and driven again at random; the sandbox's audit and the store show
whether everything happened once."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import anyio
import pytest

from orchestrator import RunStatus, Status, open_store
from orchestrator.load.statistics import Statistics
from tests.crash.test_kill import KILLED, Shell, ended
from tests.support.tenant import assert_nothing_left, sandbox

INSTANCES = 24
SEEDS = range(int(os.environ.get("SHARD_LIVES", "3")))


async def drive_to_the_end(shell: Shell, run: str, shard: int, rng: random.Random) -> int:
    """Drive one shard until its process ends by itself. Returns how often it was killed before."""
    kills = 0
    while True:
        process = shell.begin("drive", run, "--shard", str(shard), "--lease", "30")
        if kills < 2 and rng.random() < 0.7:
            await anyio.sleep(rng.uniform(0.1, 1.2))
            process.kill()
            kills += 1
        code = await ended(process)
        if code != KILLED:
            assert code == 0, shell.said()
            return kills


@pytest.mark.parametrize("seed", SEEDS)
async def test_two_processes_that_are_killed_at_random_finish_one_run(home: Path, seed: int) -> None:
    rng = random.Random(seed)
    async with sandbox("*:latency=0.01") as emulator:
        shell = Shell(home, emulator)
        load = ("load", "--instances", str(INSTANCES), "--concurrency", "6", "--shards", "2", "--no-drive")
        assert await shell.run(*load, "--threshold", f"instance.count > {INSTANCES - 13}") == 0, shell.said()
        run = shell.said().split()[1]
        kills: list[int] = []

        async def live(shard: int) -> None:
            kills.append(await drive_to_the_end(shell, run, shard, random.Random(rng.random())))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live, 0)
            tasks.start_soon(live, 1)
        assert_nothing_left(emulator)
        assert emulator.audit()["created"]["application"] == INSTANCES
        async with open_store(str(home / "data" / "orchestrator" / "runs.db")) as store:
            record, shards = await store.run(run), await store.shards(run)
            assert record.status is RunStatus.FINISHED
            assert [shard.done for shard in shards] == [True, True]
            assert sum(n for (status, _), n in (await store.counts(run)).items() if status is Status.COMPLETED) == INSTANCES
            rows = await store.statistics(run)
            merged = Statistics.of(rows)
            each = [Statistics.of(row for row in rows if row.shard == index) for index in (0, 1)]
        lost = INSTANCES - merged.total.counters["ended.completed"]
        assert 0 <= lost <= 6 * sum(kills), "a kill loses up to two seconds of a shard's statistics"
        for name in ("started", "ended.completed"):
            assert merged.total.counters[name] == sum(part.total.counters[name] for part in each)
        longest = max(part.seconds for part in each)
        assert longest <= merged.seconds <= longest + 2.1 * (1 + sum(kills)), "time is not added"


async def test_a_frozen_process_holds_up_its_own_shard_only(home: Path) -> None:
    async with sandbox("create_scope:hang_before*1") as emulator:
        shell = Shell(home, emulator)
        assert await shell.run("load", "--instances", "8", "--concurrency", "2", "--shards", "2", "--no-drive") == 0, shell.said()
        run = shell.said().split()[1]
        # Frozen while it waits for a response: a process that is frozen inside a commit holds the lock of the store.
        frozen = shell.begin("drive", run, "--shard", "0", "--lease", "1.5")
        assert frozen.pid is not None
        await shell.until(lambda: shell.called("create_scope"))
        os.kill(frozen.pid, signal.SIGSTOP)
        # Shard 1 is finished, whether the lease of shard 0 has expired or not.
        assert await shell.run("drive", run, "--shard", "1") in {0, 130}, shell.said()
        assert emulator.audit()["created"]["application"] == 5
        await anyio.sleep(1.7)
        assert await shell.run("resume", run, "--lease", "30") == 0, shell.said()
        calls = len(emulator.environment.audit.calls)
        os.kill(frozen.pid, signal.SIGCONT)
        assert await ended(frozen) == 2
        assert len(emulator.environment.audit.calls) == calls
        assert_nothing_left(emulator)
        assert emulator.audit()["created"]["application"] == 8
