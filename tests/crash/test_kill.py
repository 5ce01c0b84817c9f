"""Real processes that are killed and resumed; the sandbox's audit shows which objects exist and which were created twice."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from orchestrator import EventKind
from tests.crash.shell import KILLED, Shell, ended, play
from tests.crash.worker import KillAt, start, start_embedded
from tests.support.gate import gate
from tests.support.tenant import OPERATION, STATES, assert_each_once, assert_nothing_left, sandbox

JWT = re.compile(rb"eyJ[\w-]+\.eyJ")
"""An assertion or a token. (Three letters alone would also match sealed text.)"""
ROLLED_BACK_STATES = ["create_user", "create_population", "grant_access", "create_resource", "create_application"]
UNDO = {
    "create_user": "delete_user",
    "create_population": "delete_population",
    "grant_access": "delete_grant",
    "create_resource": "delete_resource",
    "create_application": "delete_application",
}


INSTANTS = ["before the request", "before the answer", "before the checkpoint"]


@pytest.mark.parametrize("instant", INSTANTS)
@pytest.mark.parametrize("state", STATES)
async def test_killed_in_any_state_a_resume_completes_it_with_one_of_each(home: Path, state: str, instant: str) -> None:
    operation = OPERATION.get(state, state)
    async with sandbox() as emulator:
        shell = Shell(home, emulator)
        if instant == "before the answer":
            play(emulator, f"{operation}:hang_after*1")
            process = shell.begin("run")
            await shell.until(lambda: shell.called(operation, "hang_after"))
            process.kill()
            assert await ended(process) == KILLED
        else:
            kind = EventKind.ATTEMPT if instant == "before the request" else EventKind.ANSWER
            assert await shell.run("run", kill=KillAt(kind, state, "run")) == KILLED
        emulator.faults.clear()
        assert await shell.run("resume") == 0, shell.said()
        assert_each_once(emulator)


@pytest.mark.parametrize("instant", INSTANTS)
@pytest.mark.parametrize("state", ROLLED_BACK_STATES)
@pytest.mark.parametrize("way", ["rollback", "teardown", "cleanup"])
async def test_killed_on_the_way_back_a_resume_leaves_nothing(home: Path, way: str, state: str, instant: str) -> None:
    operation = UNDO[state]
    async with sandbox("introspect:400" if way == "rollback" else "") as emulator:
        shell = Shell(home, emulator)
        argv = ["run"] if way == "rollback" else ["run", "--on-success", "teardown"]
        if way == "cleanup":
            assert await shell.run("run") == 0
            argv = ["cleanup"]
        if instant == "before the answer":
            play(emulator, f"{operation}:hang_after*1")
            process = shell.begin(*argv)
            await shell.until(lambda: shell.called(operation, "hang_after"))
            process.kill()
            assert await ended(process) == KILLED
        else:
            kind = EventKind.ATTEMPT if instant == "before the request" else EventKind.ANSWER
            assert await shell.run(*argv, kill=KillAt(kind, state, "rollback")) == KILLED
        emulator.faults.clear()
        assert await shell.run("resume") == (1 if way == "rollback" else 0), shell.said()
        assert_nothing_left(emulator)


@pytest.mark.parametrize("state", ["create_user", "exchange_token"])
async def test_killed_in_a_retry_a_resume_completes_it_with_one_of_each(home: Path, state: str) -> None:
    async with sandbox(f"{OPERATION.get(state, state)}:403.LICENSE_EXCEEDED*1") as emulator:
        shell = Shell(home, emulator)
        assert await shell.run("run", "--on-failure", "keep") == 1
        assert "orchestrator retry" in shell.said()
        assert await shell.run("retry", kill=KillAt(EventKind.ANSWER, state, "run")) == KILLED
        assert await shell.run("resume") == 0, shell.said()
        assert_each_once(emulator)


async def test_killed_while_it_recovers_it_recovers_again(home: Path) -> None:
    async with sandbox("create_user:500_after*1") as emulator:
        shell = Shell(home, emulator)
        assert await shell.run("run", kill=KillAt(EventKind.ANSWER, "create_user", "recover")) == KILLED
        assert await shell.run("resume") == 0, shell.said()
        assert_each_once(emulator)


async def test_killed_in_a_retry_wait_it_waits_out_the_rest_and_goes_on_counting(home: Path) -> None:
    async with sandbox("create_population:429=2*1") as emulator:
        shell = Shell(home, emulator)
        process = shell.begin("run")
        await shell.until(lambda: shell.called("create_population", "429"))
        refused_at = time.time()
        await anyio.sleep(0.3)
        process.kill()
        assert await ended(process) == KILLED
        assert await shell.run("resume") == 0, shell.said()
        # The audit's second call is the recovery: the process may have died during the request.
        again = [call.at for call in emulator.environment.audit.calls if call.operation.endswith("_populations")]
        assert again[0] - refused_at >= 1.8
        assert_each_once(emulator)


@pytest.mark.parametrize("operation", ["assign_policy", "create_grant"])
@pytest.mark.parametrize("fault", ["hang_before", "hang_after"])
async def test_killed_around_the_assignment_of_a_policy_a_resume_completes_it_with_one_of_each(
    home: Path, operation: str, fault: str
) -> None:
    async with sandbox(f"{operation}:{fault}*1", default_policy="Multi_Factor") as emulator:
        shell = Shell(home, emulator)
        process = shell.begin("run", "--sign-on-policy", "Single_Factor")
        await shell.until(lambda: shell.called(operation, fault))
        process.kill()
        assert await ended(process) == KILLED
        assert await shell.run("resume") == 0, shell.said()
        assert_each_once(emulator, policies=1)


async def test_many_instances_killed_again_and_again_complete_with_one_of_each(home: Path) -> None:
    async with sandbox("*:latency=0.01 *:503@2% *:reset_after@2%", seed=5) as emulator:
        shell = Shell(home, emulator)
        code = await shell.run(
            "run", "--instances", "20", "--concurrency", "8", kill=KillAt(EventKind.ANSWER, "create_scope", "run", 4)
        )
        assert code == KILLED
        for state in ("create_user", "submit_credentials", "exchange_token"):
            assert await shell.run("resume", kill=KillAt(EventKind.ANSWER, state, "run", 5)) in (KILLED, 0)
        assert await shell.run("resume") == 0, shell.said()
        assert_each_once(emulator, 20)


async def test_a_load_run_killed_again_and_again_adds_up_and_leaves_nothing(home: Path) -> None:
    async with sandbox("*:latency=0.01 *:503@2% *:reset_after@2%", seed=6) as emulator:
        shell = Shell(home, emulator)
        argv = ["load", "--instances", "30", "--concurrency", "10", "--rounds", "2"]
        assert await shell.run(*argv, kill=KillAt(EventKind.ANSWER, "grant_access", "run", 6)) == KILLED
        for state, handler in (("exchange_token", "run"), ("create_user", "rollback"), ("introspect_token", "run")):
            assert await shell.run("resume", kill=KillAt(EventKind.ANSWER, state, handler, 8)) in (KILLED, 0)
        assert await shell.run("resume", "--json") == 0, shell.said()
        assert await shell.run("report", "--json") == 0
        data = json.loads(shell.said()[shell.said().rindex('{\n  "run"') :])
        assert data["counts"] == {"completed": 30}
        assert data["admitted"] == 30
        assert_nothing_left(emulator)
        assert emulator.audit()["created"]["application"] == 30
        assert data["statistics"]["segments"]["sign_on"]["count"] > 20


async def test_a_resume_writes_the_reports_of_a_run_whose_process_died_before_it_wrote_them(home: Path) -> None:
    async with sandbox() as emulator:
        shell = Shell(home, emulator)
        first, second = home / "first.xml", home / "second.xml"
        assert await shell.run("load", "--instances", "2", "--junit", str(first)) == 0, shell.said()
        first.unlink()
        assert await shell.run("resume") == 0, shell.said()
        assert "<testsuites" in first.read_text()
        assert await shell.run("resume", "--junit", str(second)) == 0, shell.said()
        assert "<testsuites" in second.read_text()
        assert await shell.run("resume") == 0
        assert "no run to continue" in shell.said()


async def test_the_embedded_sandbox_survives_its_process(home: Path) -> None:
    environ = {"XDG_DATA_HOME": str(home / "data")}
    output = home / "output.txt"
    killed = start(["run"], environ, output, KillAt(EventKind.ANSWER, "submit_credentials", "run"))
    assert await ended(killed) == KILLED
    assert await ended(start(["resume"], environ, output)) == 0, output.read_text()
    assert "token verified" in output.read_text()
    assert list((home / "data" / "orchestrator" / "sandboxes").iterdir())
    assert await ended(start(["cleanup"], environ, output)) == 0
    assert not list((home / "data" / "orchestrator" / "sandboxes").iterdir())


async def test_a_second_process_is_told_who_drives_the_run_and_until_when(home: Path) -> None:
    async with sandbox("create_user:hang_before*1") as emulator:
        shell = Shell(home, emulator)
        first = shell.begin("run")
        await shell.until(lambda: shell.called("create_user"))
        assert await shell.run("resume") == 2
        assert f"is driven by process {first.pid} on " in shell.said()
        assert " until " in shell.said()
        first.kill()
        assert await ended(first) == KILLED
        # Its process no longer exists, so the lease need not expire first.
        assert await shell.run("resume") == 0, shell.said()
        assert_each_once(emulator)


async def test_a_stopped_owner_whose_lease_ran_out_sends_nothing_more_and_says_why(home: Path) -> None:
    # Stopped while it waits for a response: no process can take over from one that is frozen inside a commit.
    async with sandbox("create_scope:hang_before*1") as emulator:
        shell = Shell(home, emulator)
        first = shell.begin("run", "--lease", "1.5")
        assert first.pid is not None
        await shell.until(lambda: shell.called("create_scope"))
        os.kill(first.pid, signal.SIGSTOP)
        await anyio.sleep(1.7)
        assert await shell.run("resume", "--lease", "30") == 0, shell.said()
        calls = len(emulator.environment.audit.calls)
        os.kill(first.pid, signal.SIGCONT)
        assert await ended(first) == 2
        assert len(emulator.environment.audit.calls) == calls
        assert "taken over" in shell.said() or "ran out" in shell.said()
        assert_each_once(emulator)


@pytest.mark.parametrize("passed", [1, 4, 8])
async def test_an_owner_that_was_frozen_while_it_connected_writes_nothing(home: Path, passed: int) -> None:
    async with sandbox() as emulator, gate(emulator.url, shuts_after=passed) as between:
        shell = Shell(home, emulator, between.url)
        first = shell.begin("run", "--lease", "1.5")
        assert first.pid is not None
        await shell.until(lambda: between.waiting)
        os.kill(first.pid, signal.SIGSTOP)
        await anyio.sleep(1.7)
        between.open()
        assert await shell.run("resume", "--lease", "30") == 0, shell.said()
        await shell.until(lambda: between.idle == 1)  # the kernel has completed the connection of the frozen process
        calls = len(emulator.environment.audit.calls)
        os.kill(first.pid, signal.SIGCONT)
        assert await ended(first) == 2
        await shell.until(lambda: between.silent == 1)
        assert len(emulator.environment.audit.calls) == calls
        assert_each_once(emulator)


async def test_the_first_signal_drains_and_suspends(home: Path) -> None:
    async with sandbox("*:latency=0.05") as emulator:
        shell = Shell(home, emulator)
        process = shell.begin("run", "--instances", "6", "--concurrency", "3")
        assert process.pid is not None
        await shell.until(lambda: shell.called("create_resource"))
        os.kill(process.pid, signal.SIGINT)
        assert await ended(process) == 130
        assert "orchestrator resume" in shell.said()
        assert await shell.run("resume") == 0, shell.said()
        assert_each_once(emulator, 6)
        # The run was suspended in good order and no effect was unknown, so nothing needed recovery.
        assert not shell.called("read_applications")
        assert not shell.called("read_resources")


async def test_the_second_signal_stops_at_once(home: Path) -> None:
    async with sandbox("create_user:hang_after*1") as emulator:
        shell = Shell(home, emulator)
        process = shell.begin("run", "--grace", "60")
        assert process.pid is not None
        await shell.until(lambda: shell.called("create_user"))
        os.kill(process.pid, signal.SIGTERM)
        await shell.until(lambda: "SIGTERM" in shell.said())
        os.kill(process.pid, signal.SIGTERM)
        assert await ended(process) == 130
        assert await shell.run("resume") == 0, shell.said()
        assert_each_once(emulator)


async def test_a_program_may_cancel_the_task_that_embeds_a_run() -> None:
    process = start_embedded()
    try:
        await anyio.to_thread.run_sync(process.join, 20)
        assert process.exitcode == 0, "it hangs" if process.exitcode is None else process.exitcode
    finally:
        process.kill()


async def test_no_secret_is_in_a_file_or_in_the_output_after_crashes_and_failures(home: Path) -> None:
    async with sandbox("token:500_after*1") as emulator:
        shell = Shell(home, emulator)
        for argv in (["run"], ["run", "--json"], ["run", "--auth-method", "PRIVATE_KEY_JWT", "--pkce", "S256_REQUIRED"]):
            assert await shell.run(*argv, kill=KillAt(EventKind.ANSWER, "exchange_token", "run")) == KILLED
            assert await shell.run("resume") == 0, shell.said()
        play(emulator, "introspect:400")
        assert await shell.run("run", "--on-failure", "keep") == 1
        await shell.run("list", "--json")
        await shell.run("show", "--json")
        failed = re.findall(r"(\d{6}-\w{6}-0) in introspect_token", shell.said())[0]
        assert await shell.run("show", failed, "--har", str(home / "failed.har")) == 0
        assert await shell.run("report", "--output", str(home / "failed.html")) == 0
        assert "as/introspect" in (home / "failed.har").read_text()
        environment = emulator.environment
        secrets = {environment.worker_secret, *emulator._workers.live, *environment.codes.rows}
        secrets |= {application.secret for application in environment.applications.rows.values()}
        secrets |= {password for user in environment.users.rows.values() for password in user.passwords}
        secrets |= {flow.cookie for flow in environment.flows.rows.values()}
        files = [path for path in home.rglob("*") if path.is_file() and path.name != "key"]
        assert any(path.name == "runs.db" for path in files)
        for path in files:
            content = path.read_bytes()
            assert not JWT.search(content), path
            assert b"PRIVATE KEY" not in content, path
            for secret in secrets:
                assert secret.encode() not in content, path
