"""Processes that are frozen or killed at random moments. Each seed is one life, and repeats the same faults, commands and
moments (counted in calls; milliseconds depend on the machine). For more lives: ``pytest tests/crash/test_campaign.py --lives 100``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random

import anyio
import pytest

from tests.crash.shell import KILLED, Shell, ended
from tests.support.tenant import assert_each_once, assert_nothing_left, sandbox

FAULTS = ["", " *:503@2%", " *:503@2% *:reset_after@2%", " *:500_after@3%", " create_user:400@20%"]
INTERRUPTED_OR_ENDED = (KILLED, 0, 1, 2)
"""Exit codes that a killed command may have; 2: its arguments do not fit the run (nothing to retry)."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run one test per life."""
    metafunc.parametrize("seed", range(metafunc.config.getoption("--lives")))


@pytest.fixture
def random(seed: int) -> Random:
    """All choices of one life."""
    return Random(seed)


def freeze(process: ForkServerProcess) -> None:
    """Stop a process at a random point, unless it has ended."""
    _send(process, signal.SIGSTOP)


def thaw(process: ForkServerProcess) -> None:
    """Let the process continue."""
    _send(process, signal.SIGCONT)


def _send(process: ForkServerProcess, signal_number: int) -> None:
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal_number)


async def after_calls(shell: Shell, process: ForkServerProcess, calls: int) -> None:
    """Wait until the sandbox has received this many more calls, or the process has ended."""
    seen = len(shell.emulator.environment.audit.calls)
    await shell.until(
        lambda: len(shell.emulator.environment.audit.calls) >= seen + calls or process.exitcode is not None, seconds=60
    )


async def settled(shell: Shell) -> int:
    """Wait until the sandbox has answered all requests. Returns the number of its calls.

    It runs in our loop: on a busy machine one long sleep can end in the turn that first sees a request, so several must pass.
    """
    calls, quiet = -1, 0
    while quiet < 8:
        await anyio.sleep(0.03)
        quiet = quiet + 1 if calls == len(shell.emulator.environment.audit.calls) else 0
        calls = len(shell.emulator.environment.audit.calls)
    return calls


async def test_an_owner_that_is_frozen_at_a_random_moment_sends_nothing_after_a_take_over(
    home: Path, random: Random, seed: int
) -> None:
    faults, per_connection = random.choice(FAULTS[:4]), random.choice([0, 0, 10])
    async with sandbox("*:latency=0.01" + faults, seed=seed, requests_per_connection=per_connection) as emulator:
        shell = Shell(home, emulator)
        kept = random.random() < 0.5
        argv = ["run" if kept else "load", "--instances", "6", "--concurrency", "3", "--lease", "1.5"]
        owner = shell.begin(*argv)
        await after_calls(shell, owner, random.randrange(1, 70))
        await anyio.sleep(random.random() * 0.02)
        freeze(owner)
        await anyio.sleep(1.7)
        rescuer = shell.begin("resume", "--lease", "60")
        held = random.random() < 0.5
        if held:
            # A frozen process sends nothing: all further calls come from the thawed owner.
            await after_calls(shell, rescuer, random.randrange(1, 30))
            freeze(rescuer)
        else:
            await ended(rescuer)
        if rescuer.exitcode == 2:
            # Frozen inside a commit, the owner holds the lock of the store: no process can take over from it.
            assert f"process {owner.pid}" in shell.said(), shell.said()
            thaw(owner)
            assert await ended(owner) in (0, 2), shell.said()
            rescuer = shell.begin("resume")
        else:
            calls = await settled(shell)
            thaw(owner)
            assert await ended(owner) == 2, shell.said()
            assert await settled(shell) == calls, "the thawed owner went on"
            thaw(rescuer)
        assert await ended(rescuer) == 0, shell.said()
        if kept:
            assert_each_once(emulator, 6)
            assert await shell.run("cleanup") == 0, shell.said()
        assert_nothing_left(emulator)


async def test_a_load_run_that_is_killed_at_random_moments_makes_everything_once_and_leaves_nothing(
    home: Path, random: Random, seed: int
) -> None:
    async with sandbox("*:latency=0.005" + random.choice(FAULTS), seed=seed) as emulator:
        shell = Shell(home, emulator)
        policies = ["--on-failure", random.choice(["rollback", "keep"]), "--on-success", random.choice(["teardown", "keep"])]
        argv = ["load", "--instances", "40", "--concurrency", "10", "--rounds", random.choice("112"), *policies]
        cleaned, least = False, 2  # the first call is for the worker's token; the run is stored before the second
        for _ in range(random.randint(1, 3)):
            process = shell.begin(*argv)
            await after_calls(shell, process, random.randrange(least, 250))
            await anyio.sleep(random.random() * 0.02)
            process.kill()
            assert await ended(process) in INTERRUPTED_OR_ENDED, shell.said()
            argv = random.choices([["resume"], ["retry"], ["cleanup"]], [6, 2, 1])[0]
            cleaned, least = cleaned or argv == ["cleanup"], 0
        assert await shell.run(*argv) in (0, 1, 2), shell.said()
        assert await shell.run("resume") in (0, 1), shell.said()
        emulator.faults.clear()
        # 1: instances that were rolled back stay so.
        assert await shell.run("retry") in (0, 1, 2), shell.said()
        shell.output.unlink()
        await shell.run("show", "--json")
        shown = json.loads(shell.said())
        never_started = shown["counts"].pop("pending", 0)
        assert sum(shown["counts"].values()) == shown["admitted"] == 40 - never_started
        assert shown["status"] == "finished"
        if not cleaned:
            assert never_started == 0
            assert set(shown["counts"]) <= {"completed", "rolled_back"}
        assert await shell.run("cleanup") == 0, shell.said()
        assert_nothing_left(emulator)
