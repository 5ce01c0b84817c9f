"""The command line in separate processes: its output and its exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Event, EventKind, PermanentError
from orchestrator.cli import main
from orchestrator.cli.console import Output
from orchestrator.cli.display.single import LiveTable
from orchestrator.storage.encryption import new_key
from states.token_fulfillment import WORKFLOW
from states.token_fulfillment.users import CreateUser


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in this process. Returns exit code, stdout and stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        code = main(argv)
        out, err = capfd.readouterr()
        return int(code), out, err

    return run


def store_of(home: Path) -> Path:
    return home / "data" / "orchestrator" / "runs.db"


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
    assert "What exists in the environment because of it: 7" in shown
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
    assert "`orchestrator retry` continues it" in shown
    for wrong, words in ((f"{run}-7", f"instance {run}-7 is not in"), ("nonsense", "not the id of a run")):
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


USAGE = {
    "an unknown flag": (["run", "--regoin", "EU"], "--regoin"),
    "an unknown command": (["rnu"], "rnu"),
    "a value that is no number": (["run", "--instances", "many"], "--instances"),
    "no instances": (["run", "--instances", "0"], "instances: 0 is less than 1"),
    "a part of an instance": (["run", "--instances", "1.5"], "instances (from --instances): '1.5' is not a whole number"),
    "instances by a power": (["run", "--instances", "1e3"], "instances (from --instances): '1e3' is not a whole number"),
    "instances of 309 digits": (["run", "--instances", "9" * 309], f"instances (from --instances): '{'9' * 60}…' is too large"),
    "instances of 5000 digits": (["run", "--instances", "9" * 5000], "…' is too large"),
    "rounds of 309 digits": (["run", "--rounds", "9" * 309], "…' is too large"),
    "one word too many": (["run", "token-fulfillment", "x"], "unexpected argument 'x' (see --help)"),
    "two words too many": (["list", "x", "y"], "unexpected arguments 'x', 'y' (see --help)"),
    "a rate group twice": (["run", "--rates", "directory=1,directory=2"], "the group 'directory' is given twice"),
    "a rate group that is none": (
        ["run", "--rates", "x=1"],
        "'x' is not a rate group of 'token-fulfillment'; known: configuration",
    ),
    "a rate next to nothing": (["run", "--rates", "directory=1e-300"], "'directory=1e-300': the rate is not between"),
    "a store without a name": (["run", "--store", ""], "store: '' names no file: give a path, sqlite:PATH or memory:"),
    "a file of SQLite without a name": (["list", "--store", "sqlite:"], "store: 'sqlite:' names no file"),
    "a store that is a folder": (["show", "--store", "."], "store: . is a folder: name a file in it, e.g. runs.db"),
    "a store in memory with a name": (
        ["run", "--store", "memory:x"],
        "'memory:x' is neither a path, nor sqlite:PATH, nor memory:",
    ),
    "an unknown workflow": (["run", "nothing"], "no workflow is called 'nothing'; installed: token-fulfillment"),
    "a bad region": (["run", "--region", "XX"], "region (from --region): must be one of NA, CA, EU, AU, SG, AP, not 'XX'"),
    "half a tenant": (["run", "--client-id", "x"], "client-secret, environment-id: missing"),
    "a bad rate": (["run", "--rates", "configuration"], "rates (from --rates): 'configuration' is not of the form"),
    "a bad policy": (
        ["run", "--on-failure", "explode"],
        "on-failure (from --on-failure): must be one of rollback, keep, not 'explode'",
    ),
    "a bad lease": (["run", "--lease", "0.001"], "lease: 0.001 is not between 1 and 86400 seconds"),
    "a lease that is no number": (["run", "--lease", "nan"], "lease: nan is not between"),
    "a lease without end": (["run", "--lease", "inf"], "lease: inf is not between"),
    "a rate without end": (
        ["run", "--rates", "configuration=inf"],
        "'configuration=inf': the rate is not between 1.16e-05 (one a day) and 1000000",
    ),
    "a redirect URI that is none": (["run", "--redirect-uri", "notauri"], "redirect-uri: 'notauri' is not an address"),
    "a redirect URI of another kind": (["run", "--redirect-uri", "http://a.example"], "http is for localhost only; use https"),
    "a redirect URI without a host": (["run", "--redirect-uri", "https:///x"], "redirect-uri: 'https:///x' names no host"),
    "a claim without a name": (["run", "--claim", ""], "claim: a claim needs a name"),
    "a grace that is no number": (["run", "--grace", "nan"], "grace: nan is not between"),
    "bytes that are no text": (["run", "--claim", "a\udcff"], "claim (from --claim): is not text in UTF-8"),
    "no such file": (["run", "--config", "nothing.toml"], "'nothing.toml' cannot be read"),
    "no such secret file": (["run", "--client-secret-file", "nothing"], "'nothing' cannot be read"),
    "no run id": (["show", "nonsense"], "'nonsense' is not the id of a run"),
    "an instance beyond counting": (["show", "261123-000000-" + "9" * 30], "is not the id of a run"),
    "no such run": (["resume", "261123-000000"], "there is no store"),
    "a name of two lines": (["load", "--report", "/proc/a\nb\x1b[31m"], "/proc/a\\nb\\x1b[31m cannot be written"),
    "a very long name": (["show", "x" * 5000], f"'{'x' * 60}…' is not the id of a run"),
    "a file of bytes": (["run", "--config", sys.executable], "is not text in UTF-8"),
    "an odd picture": (["graph", "--output", "x.bmp"], "x.bmp ends with none of"),
    "an odd store": (["run", "--store", "redis://x"], "neither a path"),
    "a store that cannot be made": (["run", "--store", "/proc/nothing/x.db"], "cannot be opened"),
    "an odd setting of the sandbox": (["sandbox", "--setting", "shoe_size=42"], "setting 'shoe_size=42' is not NAME=VALUE"),
    "a time that is none": (
        ["sandbox", "--list-delay", "nan"],
        "list_delay_s: must be between 0 and 1000000000 seconds, not nan",
    ),
    "pages without rows": (["sandbox", "--setting", "page_size=0"], "page_size: must be between 1 and 1000, not 0"),
    "odd faults": (["sandbox", "--faults", "x"], "fault 'x' is not of the form"),
}


@pytest.mark.parametrize("case", list(USAGE))
def test_bad_input_is_one_clear_line_and_exit_code_2(cli: Any, case: str) -> None:
    argv, message = USAGE[case]
    code, out, err = cli(*argv)
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


TOML = {
    "not TOML": ("[run", "is not valid TOML"),
    "an unknown key": ("[run]\ninstance = 3", "instance (from orchestrator.toml): unknown setting; known: "),
    "an unknown table": ("[runs]\ninstances = 3", "runs (from orchestrator.toml): unknown table"),
    "a value of the wrong kind": ("[run]\ninstances = 'many'", "instances (from orchestrator.toml)"),
    "a truth for a number": ("[run]\ninstances = true", "instances (from orchestrator.toml): True is not a whole number"),
    "a part of a whole": ("[run]\ninstances = 1.5", "instances (from orchestrator.toml): 1.5 is not a whole number"),
    "a number for a path": ("[orchestrator]\nstore = 3", "store (from orchestrator.toml): 3 is not text"),
    "a setting twice": (
        "[run]\non-failure = 'keep'\non_failure = 'rollback'",
        "on_failure (from orchestrator.toml): given twice",
    ),
    "a table that is none": ("run = 3", "run (from orchestrator.toml): is not a table"),
}


@pytest.mark.parametrize("case", list(TOML))
def test_a_wrong_configuration_file_is_named(cli: Any, home: Path, case: str) -> None:
    text, message = TOML[case]
    (home / "orchestrator.toml").write_text(text)
    code, _, err = cli("run")
    assert code == 2
    assert message in err


def test_one_file_serves_all_commands(cli: Any, home: Path) -> None:
    (home / "orchestrator.toml").write_text("[orchestrator]\ngrace = 5\n[run]\ninstances = 2\n[load]\ninstances = 3\n")
    assert json.loads(cli("run", "--json")[1])["counts"] == {"completed": 2}
    assert json.loads(cli("load", "--json")[1])["counts"] == {"completed": 3}
    assert cli("doctor")[0] == 0


def test_a_store_without_runs_has_none_to_show(cli: Any, home: Path) -> None:
    import asyncio

    from orchestrator import open_store

    async def make() -> None:
        async with open_store("empty.db"):
            pass

    asyncio.run(make())
    for command in ("show", "report"):
        code, _, err = cli(command, "--store", "empty.db")
        assert code == 2
        assert "there is no run in the store empty.db yet; `orchestrator run` starts one" in err


def test_doctor_changes_nothing(cli: Any, home: Path) -> None:
    for argv in (["doctor"], ["doctor", "--store", str(home / "other.db")]):
        code, out, _ = cli(*argv)
        assert code == 0
        assert "none yet; the first run makes it" in out
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_doctor_knows_a_key_that_is_not_that_of_the_runs(cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("run")
    assert cli("doctor")[0] == 0
    with monkeypatch.context() as other:
        other.setenv("ORCHESTRATOR_KEY", new_key())
        code, out, _ = cli("doctor")
    assert code == 2
    assert "WRONG key" in out
    assert "set ORCHESTRATOR_KEY to the key it was started with" in out
    (home / "data" / "orchestrator" / "key").unlink()
    assert "is not there: put it back" in cli("doctor")[1]


@pytest.mark.parametrize("command", ["show", "cleanup", "report", "retry", "resume"])
def test_a_missing_key_is_missed_and_no_other_is_made(cli: Any, home: Path, command: str) -> None:
    run = json.loads(cli("run", "--json")[1])["run"]
    key = home / "data" / "orchestrator" / "key"
    key.unlink()
    code, _, err = cli(command, run)
    assert code == 2
    assert "is not there: put it back, or set ORCHESTRATOR_KEY" in err
    assert not key.exists()


def test_a_store_in_memory_promises_no_further_commands(cli: Any, home: Path) -> None:
    code, out, _ = cli("run", "--store", "memory:")
    assert code == 0
    assert "orchestrator cleanup" not in out
    assert "The store was in memory: no further commands are possible for this run." in out
    assert not store_of(home).parent.exists()  # creates neither a key nor the state of a sandbox
    assert json.loads(cli("run", "--store", "memory:", "--json")[1])["next"] == []


def test_flags_win_over_variables_and_those_over_the_file(cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "orchestrator.toml").write_text("[run]\ninstances = 4\n[token-fulfillment]\nclaim = 'from_file'\nregion = 'CA'\n")
    monkeypatch.setenv("PINGONE_REGION_CODE", "EU")
    run = json.loads(cli("run", "--json", "--instances", "2")[1])
    assert run["counts"] == {"completed": 2}
    settings = json.loads(cli("show", run["run"], "--json")[1])["head"]["settings"]
    assert "region=EU" in settings
    assert "claim=from_file" in settings


def test_wrong_credentials_and_an_unreachable_host_leave_no_run_behind(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("states.token_fulfillment.services.PREFLIGHT_WAIT_S", 0.01)
    tenant = {"PINGONE_CLIENT_ID": "a", "PINGONE_CLIENT_SECRET": "bbbbbbbb", "PINGONE_ENVIRONMENT_ID": "c"}
    for name, value in tenant.items():
        monkeypatch.setenv(name, value)
    code, _, err = cli("run", "--base-url", "http://127.0.0.1:1")
    assert code == 2
    assert "127.0.0.1:1 cannot be reached" in err
    assert len(err.strip().splitlines()) == 1
    assert json.loads(cli("list", "--json")[1]) == []
    code, out, _ = cli("doctor", "--base-url", "http://127.0.0.1:1")
    assert code == 2
    assert "WRONG services" in out


def test_a_wrong_key_says_what_to_do_and_list_still_works(cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = json.loads(cli("run", "--json")[1])["run"]
    monkeypatch.setenv("ORCHESTRATOR_KEY", new_key())
    for command in ("show", "cleanup"):
        code, _, err = cli(command, run)
        assert code == 2
        assert "set ORCHESTRATOR_KEY to the key it was started with" in err
    assert run in cli("list")[1]
    monkeypatch.setenv("ORCHESTRATOR_KEY", "too short")
    code, _, err = cli("show", run)
    assert code == 2
    assert "ORCHESTRATOR_KEY does not hold a key" in err
    monkeypatch.delenv("ORCHESTRATOR_KEY")
    key = home / "data" / "orchestrator" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o644)
    code, _, err = cli("show", run)
    assert code == 2
    assert "chmod 600" in err


def test_a_store_that_is_not_ours_is_left_alone(cli: Any, home: Path) -> None:
    path = home / "theirs.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    code, _, err = cli("run", "--store", str(path))
    assert code == 2
    assert "not a store of this program" in err
    assert path.read_bytes() == before


def _move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def _replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"")


LOSSES: dict[str, Any] = {
    "deleted": Path.unlink,
    "its write-ahead log deleted": lambda path: Path(f"{path}-wal").unlink(),
    "moved": lambda path: path.rename(path.with_name("other.db")),
    "replaced": _replace,
    "its folder moved": _move_folder,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_store_that_is_lost_while_it_is_used_ends_the_run(home: Path, capfd: pytest.CaptureFixture[str], loss: str) -> None:
    path = home / "stores" / "runs.db"

    def lose(event: Event) -> None:
        if event.kind is EventKind.MOVED and event.state == "create_resource" and event.number == 1:
            LOSSES[loss](path)

    code = main(["run", "--instances", "2", "--concurrency", "2", "--store", str(path)], [lose])
    err = capfd.readouterr().err
    (said,) = [line for line in err.splitlines() if line.startswith("orchestrator: ")]
    assert code == 2
    assert f"the store {path} was deleted, moved or replaced while it was in use" in said
    assert err.count("  application ") == err.count("  resource ") == 2, err
    found = re.search(r"orchestrator (cleanup \S+ --store (\S+))$", said)
    assert found, said
    assert stat.S_IMODE(Path(found[2]).stat().st_mode) == 0o600
    assert main(found[1].split()) == 0
    out = capfd.readouterr().out
    assert "2 rolled_back" in out
    assert "Nothing of it exists" in out


def test_list_without_a_store_is_no_error(cli: Any) -> None:
    code, out, _ = cli("list")
    assert code == 0
    assert "No runs yet" in out


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


def shell(line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A shell line in which ``orchestrator`` is the program under test."""
    program = f'orchestrator() {{ "{sys.executable}" -m orchestrator "$@"; }}; set -o pipefail; {line}'
    return subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, timeout=60, check=False, env=os.environ | environ
    )


def test_a_run_is_suspended_when_its_stdout_is_closed(cli: Any) -> None:
    done = shell("orchestrator run --instances 100000 --rounds 2 | head -1")
    assert done.returncode == 130
    assert "the output was closed: stopping; to continue: orchestrator resume" in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = json.loads(cli("list", "--json")[1])
    assert run["status"] == "interrupted"
    assert shell("orchestrator list | true").returncode in (0, 141)


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", ">&- 2>&- <&-"])
def test_a_closed_standard_stream_is_no_matter(home: Path, closed: str) -> None:
    done = shell(f"orchestrator run {closed}")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_a_full_disk_behind_the_output_is_told_in_one_line(home: Path) -> None:
    done = shell("orchestrator list >/dev/full")
    assert done.returncode == 2
    assert done.stderr.strip() == "orchestrator: the output cannot be written: No space left on device"


def test_letters_that_the_output_has_not_are_escaped(home: Path) -> None:
    done = shell("orchestrator run --value 'a→b'", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "a\\u2192b" in done.stdout


def test_what_looks_like_markup_or_an_emoji_is_printed_as_it_is(cli: Any) -> None:
    value = "a:key:b [/bold] [red]"
    assert value in cli("run", "--value", value)[1]
    proof = next(iter(json.loads(cli("run", "--json", "--value", value)[1])["proofs"].values()))
    assert value in proof["claim found"]


def test_an_error_that_looks_like_markup_does_not_break_the_table() -> None:
    table = LiveTable(WORKFLOW, "a [/title]")
    common = {"run_id": "r", "number": 0, "at": 0.0, "state": "create_scope"}
    table(Event(kind=EventKind.STARTED, **common))
    table(Event(kind=EventKind.RETRY, error="see [/docs/limits]", **common))
    output = Output(file=io.StringIO(), width=120)
    output.print(table._table())
    assert "create_scope: see [/docs/limits]" in output.file.getvalue()  # type: ignore[attr-defined]


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
