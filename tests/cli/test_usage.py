"""Flags and configuration files: which win, and which are refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

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
    "no run id": (["show", "No_Run"], "'No_Run' is not the id of a run"),
    "an instance beyond counting": (["show", "261123-k7m3qp-" + "9" * 60], "is not the id of a run"),
    "no such run": (["resume", "261123-k7m3qp"], "there is no store"),
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


def test_flags_win_over_variables_and_those_over_the_file(cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "orchestrator.toml").write_text("[run]\ninstances = 4\n[token-fulfillment]\nclaim = 'from_file'\nregion = 'CA'\n")
    monkeypatch.setenv("PINGONE_REGION_CODE", "EU")
    run = json.loads(cli("run", "--json", "--instances", "2")[1])
    assert run["counts"] == {"completed": 2}
    settings = json.loads(cli("show", run["run"], "--json")[1])["head"]["settings"]
    assert "region=EU" in settings
    assert "claim=from_file" in settings
