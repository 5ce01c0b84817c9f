"""Real processes on a PostgreSQL store: the process is killed or frozen, or the server is."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from orchestrator import EventKind, RunStatus, open_store
from tests.crash.shell import KILLED, Shell, ended
from tests.crash.worker import KillAt
from tests.support.postgresql import Server, new_schema
from tests.support.tenant import assert_each_once, assert_nothing_left, sandbox


@pytest.mark.parametrize("state", ["create_scope", "exchange_token"])
async def test_a_killed_process_is_resumed_with_one_of_each(home: Path, postgresql_url: str, state: str) -> None:
    async with sandbox() as emulator:
        shell, store = Shell(home, emulator), ("--store", postgresql_url)
        killed = KillAt(EventKind.ANSWER, state, "run", 2)
        assert await shell.run("run", "--instances", "6", "--concurrency", "3", *store, kill=killed) == KILLED
        assert await shell.run("resume", *store) == 0, shell.said()
        assert_each_once(emulator, 6)
        assert await shell.run("cleanup", *store) == 0, shell.said()
        assert_nothing_left(emulator)


async def test_a_frozen_owner_writes_nothing_after_another_process_has_resumed_its_run(home: Path, postgresql_url: str) -> None:
    async with sandbox("create_scope:hang_before*1") as emulator:
        shell, store = Shell(home, emulator), ("--store", postgresql_url)
        first = shell.begin("run", "--lease", "1.5", *store)
        assert first.pid is not None
        await shell.until(lambda: shell.called("create_scope"))
        os.kill(first.pid, signal.SIGSTOP)
        await anyio.sleep(1.7)
        assert await shell.run("resume", "--lease", "30", *store) == 0, shell.said()
        calls = len(emulator.environment.audit.calls)
        os.kill(first.pid, signal.SIGCONT)
        assert await ended(first) == 2
        assert len(emulator.environment.audit.calls) == calls
        assert_each_once(emulator)


async def test_a_server_that_is_killed_and_starts_again_costs_time_and_no_run(home: Path, server: Server) -> None:
    async with sandbox("*:latency=0.02") as emulator:
        shell, url = Shell(home, emulator), f"{server.url}&schema={new_schema()}"
        process = shell.begin("run", "--instances", "20", "--concurrency", "10", "--store", url)
        for calls in (60, 180):
            await shell.until(lambda calls=calls: len(emulator.environment.audit.calls) >= calls, 60)
            await anyio.to_thread.run_sync(server.kill)
            await anyio.sleep(0.3)
            await anyio.to_thread.run_sync(server.start)
        assert await ended(process) == 0, shell.said()
        assert_each_once(emulator, 20)
        async with open_store(url, create=False) as store:
            [run] = (await store.runs()).runs
            assert run.status is RunStatus.FINISHED
            rows = await store.load(run.id)
            assert [row.number for row in rows] == list(range(20))
            for row in rows:
                events = await store.events(run.id, row.number)
                assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_a_server_that_stays_away_interrupts_the_run_which_is_resumed(home: Path, server: Server) -> None:
    async with sandbox("*:latency=0.02") as emulator:
        shell = Shell(home, emulator)
        argv = ["--store", f"{server.url}&schema={new_schema()}", "--store-timeout", "1"]
        process = shell.begin("run", "--instances", "20", "--concurrency", "5", *argv)
        await shell.until(lambda: len(emulator.environment.audit.calls) >= 60, 60)
        await anyio.to_thread.run_sync(server.kill)
        assert await ended(process) == 2, shell.said()
        said = " ".join(shell.said().split())
        assert "has not answered for 1 s" in said
        assert "orchestrator resume" in said
        assert "Traceback" not in said
        await anyio.to_thread.run_sync(server.start)
        assert await shell.run("resume", *argv) == 0, shell.said()
        assert_each_once(emulator, 20)
