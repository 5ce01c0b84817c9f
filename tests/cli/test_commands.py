"""The commands run, list, show, retry, cleanup and graph from their user's view."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from orchestrator import PermanentError
from orchestrator.cli.run_settings import LoadSettings, RunSettings
from orchestrator.cli.settings import EngineSettings, TelemetrySettings
from orchestrator.settings import settings_of
from states.token_fulfillment.users import CreateUser


def test_a_first_run_shows_fifteen_states_and_the_verified_claim(cli: Any) -> None:
    code, out, err = cli("run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:16]] == [str(n) for n in range(1, 16)]
    assert "claim sent" in out
    assert "claim found" in out
    assert "token verified   RS256 signature" in out
    assert "orchestrator cleanup" in out


def test_json_is_one_document_and_nothing_else(cli: Any) -> None:
    code, out, err = cli("run", "--json", "--instances", "3", "--concurrency", "2", "--on-success", "teardown")
    data = json.loads(out)
    assert code == data["exit_code"] == 0
    assert data["counts"] == {"completed": 3}
    assert data["existing"] == {}
    assert len(data["proofs"]) == 3
    for command in (["list"], ["show"], ["show", f"{data['run']}-0"], ["doctor"]):
        code, out, _ = cli(*command, "--json")
        assert code == 0
        json.loads(out)
    assert "run" in err


def test_list_show_and_cleanup_of_a_run(cli: Any) -> None:
    run = json.loads(cli("run", "--json")[1])["run"]
    assert run in cli("list")[1]
    shown = cli("show", run)[1]
    assert "Objects of the run in the environment: 7" in shown
    one = cli("show", f"{run}-0")[1]
    assert "user, population, grant, resource, application" in one
    assert "15  introspect_token" in one
    code, out, _ = cli("cleanup", run)
    assert code == 0
    assert "Nothing of it exists" in out
    assert cli("cleanup", run)[0] == 0
    assert "there is nothing to resume" in cli("resume", run)[1]


def test_a_kept_failure_is_retried(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: CreateUser, step: Any) -> Any:
        raise PermanentError("not today")

    with monkeypatch.context() as today:
        today.setattr(CreateUser, "run", refused)
        code, out, _ = cli("run", "--json", "--on-failure", "keep")
    data = json.loads(out)
    run = data["run"]
    assert code == 1
    assert f"orchestrator retry {run}" in data["next"]
    shown = cli("show", f"{run}-0")[1]
    assert "status     failed in create_user\n" in shown
    assert "-0` continues it, `orchestrator cleanup" in shown
    for wrong, words in ((f"{run}-7", f"instance {run}-7 is not in"), ("nonsense", "run nonsense is not in the store")):
        code, _, err = cli("retry", wrong)
        assert (code, len(err.strip().splitlines())) == (2, 1)
        assert words in err
    assert f"1 failed and can be retried: orchestrator retry {run}" in cli("resume", run)[1]
    code, out, err = cli("retry", f"{run}-0")
    assert code == 0, err
    assert "put back, to be retried" in out
    assert "1 completed" in out
    code, _, err = cli("retry", f"{run}-77777")
    assert code == 2
    assert f"instance {run}-77777 is not in" in err
    code, out, _ = cli("retry")
    assert code == 0
    assert "no instance that failed and was kept: there is nothing to retry" in out


def test_several_instances_and_every_option_work_together(cli: Any) -> None:
    code, out, _ = cli(
        "run", "--instances", "4", "--concurrency", "4", "--auth-method", "PRIVATE_KEY_JWT", "--response-mode", "pi.flow",
        "--expression", "request-data", "--pkce", "S256_REQUIRED", "--rounds", "2", "--rates", "configuration=200",
    )  # fmt: skip
    assert code == 0, out
    assert "4 completed" in out


def test_wrong_credentials_and_an_unreachable_host_leave_no_run_behind(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("states.token_fulfillment.services.PREFLIGHT_WAIT_S", 0.01)
    tenant = {"PINGONE_CLIENT_ID": "a", "PINGONE_CLIENT_SECRET": "bbbbbbbb", "PINGONE_ENVIRONMENT_ID": "c"}
    for name, value in tenant.items():
        monkeypatch.setenv(name, value)
    code, _, err = cli("run", "--base-url", "http://127.0.0.1:1")
    assert code == 2
    assert "127.0.0.1:1 cannot be reached" in err
    assert len(err.strip().splitlines()) == 1
    assert json.loads(cli("list", "--json")[1])["runs"] == []
    code, out, _ = cli("doctor", "--base-url", "http://127.0.0.1:1")
    assert code == 2
    assert "WRONG services" in out


def test_a_picture_of_the_machine(cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = cli("graph")
    assert code == 0
    assert "introspect_token --> authorize: token_expired, claim_missing, again" in out
    assert cli("graph", "--output", str(home / "machine.mmd"))[0] == 0
    assert (home / "machine.mmd").read_text() == out
    monkeypatch.setenv("PATH", "")
    code, _, err = cli("graph", "--output", str(home / "machine.svg"))
    assert code == 2
    assert "Graphviz" in err


COMMANDS = ["run", "resume", "drive", "retry", "list", "show", "cleanup", "graph", "sandbox", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples(cli: Any, command: str) -> None:
    code, out, _ = cli(command, "--help")
    assert code == 0
    examples = out.partition("\nTry\n")[2]
    assert f"  orchestrator {command}" in examples


@pytest.mark.parametrize("settings", [RunSettings, LoadSettings, EngineSettings, TelemetrySettings], ids=lambda cls: cls.__name__)
def test_the_help_shows_every_setting(cli: Any, settings: type) -> None:
    _, out, _ = cli("load" if settings is LoadSettings else "run", "--help")
    missing = [setting.flag for setting in settings_of(settings) if not re.search(rf"{setting.flag}\b(?!-)", out)]
    assert missing == []


def test_the_program_starts_as_a_module_and_as_a_script(home: Path) -> None:
    for argv in ([sys.executable, "-m", "orchestrator"], [str(Path(sys.executable).with_name("orchestrator"))]):
        done = subprocess.run([*argv, "--version"], capture_output=True, text=True, check=True, env=os.environ)
        assert done.stdout.strip()


def test_a_release_of_aiohttp_that_was_not_tested_is_said_first(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("states.http.transport.TESTED", "3.1.")
    said = f"aiohttp {version('aiohttp')} was not tested: requests take about a third more CPU time"
    assert said in cli("run")[1].splitlines()[0]
    assert f"ok    notice           {said}" in cli("doctor")[1]
    monkeypatch.setattr("states.http.transport.TESTED", version("aiohttp"))
    assert "was not tested" not in cli("doctor")[1]
