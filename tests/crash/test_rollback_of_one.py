"""The rollback of one instance by the command line, in processes that are killed; the sandbox's audit shows whose objects exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator import EventKind
from states.sandbox import Sandbox
from tests.crash.shell import KILLED, Shell, play
from tests.crash.worker import KillAt
from tests.support.tenant import KINDS, sandbox


async def completed(shell: Shell, *more: str) -> str:
    """The id of a run of three instances."""
    assert await shell.run("run", "--instances", "3", "--concurrency", "1", *more) == 0, shell.said()
    found = re.search(r"run (\d{6}-[a-z0-9]{6})", shell.said())
    assert found is not None, shell.said()
    return found[1]


def owners(emulator: Sandbox, run_id: str) -> set[int]:
    """The numbers of the instances whose objects exist: all of their objects, or none."""
    report = emulator.audit()
    existing = [name for names in report["existing_names"].values() for name in names]
    numbers = {number for number in range(3) if any(f"{run_id}-{number}" in name for name in existing)}
    assert report["existing"] == dict.fromkeys(KINDS, len(numbers)) | {"sign_on_policy_assignment": 0}
    assert report["created_twice"] == []
    return numbers


async def test_what_cannot_be_rolled_back_is_refused_in_one_line(home: Path) -> None:
    async with sandbox() as emulator:
        shell = Shell(home, emulator)
        run_id = await completed(shell)
        assert await shell.run("cleanup", f"{run_id}-9") == 2
        assert f"instance {run_id}-9 is not in" in shell.said()
        assert owners(emulator, run_id) == {0, 1, 2}
        assert await shell.run("cleanup", f"{run_id}-1") == 0, shell.said()
        assert await shell.run("cleanup", f"{run_id}-1") == 2
        assert f"instance {run_id}-1 has nothing to roll back" in shell.said()
        assert "Traceback" not in shell.said()
        assert owners(emulator, run_id) == {0, 2}


@pytest.mark.parametrize(
    "kill",
    [
        KillAt(EventKind.ROLLING_BACK, "completed", None),
        KillAt(EventKind.ATTEMPT, "create_user", "rollback"),
        KillAt(EventKind.ANSWER, "create_application", "rollback"),
    ],
    ids=["just after the reset", "before the first request", "before the last checkpoint"],
)
async def test_killed_in_the_rollback_a_resume_rolls_back_this_instance_only(home: Path, kill: KillAt) -> None:
    async with sandbox() as emulator:
        shell = Shell(home, emulator)
        run_id = await completed(shell)
        assert await shell.run("cleanup", f"{run_id}-1", kill=kill) == KILLED
        assert await shell.run("show", run_id) == 0
        assert "rollback of an instance interrupted" in shell.said()
        assert f"orchestrator resume {run_id}" in shell.said()
        assert await shell.run("cleanup", f"{run_id}-2") == 2
        assert "not finished; resume it before a rollback of one instance" in shell.said()
        assert await shell.run("resume") == 0, shell.said()
        assert owners(emulator, run_id) == {0, 2}
        deleted = [call.path for call in emulator.environment.audit.calls if call.operation == "delete_application"]
        assert len(set(deleted)) == 1
        assert await shell.run("resume", run_id) == 0  # there is nothing left to resume
        assert owners(emulator, run_id) == {0, 2}


async def test_a_rollback_that_fails_leaves_leftovers_and_is_tried_again(home: Path) -> None:
    async with sandbox() as emulator:
        shell = Shell(home, emulator)
        run_id = await completed(shell)
        play(emulator, "delete_application:400")
        assert await shell.run("cleanup", f"{run_id}-0") == 3, shell.said()
        assert "Left over, could not be removed" in shell.said()
        emulator.faults.clear()
        assert await shell.run("show", f"{run_id}-0") == 0
        assert f"`orchestrator cleanup {run_id}-0` tries again" in shell.said()
        assert await shell.run("cleanup", f"{run_id}-0") == 0, shell.said()
        assert owners(emulator, run_id) == {1, 2}
