"""The command load from its user's view."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest


def test_a_load_run_ends_with_its_verdicts_and_its_measurements(cli: Any, home: Path) -> None:
    code, out, err = cli(
        "load", "--instances", "6", "--concurrency", "3", "--threshold", "failed < 1%", "--threshold", "sign_on.p95 < 60s"
    )
    assert (code, err) == (0, "")
    assert "6 completed" in out
    assert "holds   failed < 1%: it is 0%" in out
    assert re.search(r"create_application +6 ", out)
    assert re.search(r"sign_on +6 ", out)
    assert "Nothing of it exists in the environment." in out


def test_a_broken_threshold_is_shown_first_and_is_the_exit_code(cli: Any) -> None:
    code, out, _ = cli("load", "--instances", "2", "--threshold", "failed < 1%", "--threshold", "exchange_token.p50 < 1us")
    assert code == 4
    lines = out.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("Run "))
    assert lines[at + 1].startswith("  BROKEN  exchange_token.p50 < 1us: it is")
    assert lines[at + 2].startswith("  holds   failed < 1%")


def test_a_scenario_from_a_file_is_overridden_by_flags(cli: Any, home: Path) -> None:
    Path("soak.toml").write_text(
        "[load]\ninstances = 9\nconcurrency = 3\nrounds = 2\nthink-time = '1ms-2ms'\nthreshold = ['failed < 1%']\n"
        "[token-fulfillment]\nclaim = 'from_file'\n"
    )
    code, out, _ = cli("load", "soak.toml", "--instances", "3", "--json")
    data = json.loads(out)
    assert code == 0
    assert data["counts"] == {"completed": 3}
    assert data["scenario"] == "3 instances, 3 at once, 2 rounds each, 0.001s-0.002s between rounds"
    assert [verdict["text"] for verdict in data["thresholds"]] == ["failed < 1%"]
    shown = json.loads(cli("show", data["run"], "--json")[1])
    assert "claim=from_file" in shown["head"]["settings"]


def test_a_scenario_does_not_hide_the_configuration(cli: Any, home: Path) -> None:
    Path("orchestrator.toml").write_text("[orchestrator]\nstore = 'mine.db'\n[load]\nconcurrency = 3\ninstances = 9\n")
    Path("soak.toml").write_text("[load]\ninstances = 2\n")
    data = json.loads(cli("load", "soak.toml", "--json")[1])
    assert data["scenario"] == "2 instances, 3 at once"
    assert Path("mine.db").exists()
    assert f"orchestrator show {data['run']}" in data["next"]
    Path("broken.toml").write_text("[")
    code, _, err = cli("load", "soak.toml", "--config", "broken.toml")
    assert code == 2
    assert "broken.toml is not valid TOML" in err


@pytest.mark.parametrize("argv", [["--store", "my runs.db"], ["--config", "other.toml"]])
def test_the_commands_that_come_next_find_the_run(cli: Any, home: Path, argv: list[str]) -> None:
    Path("other.toml").write_text("[orchestrator]\nstore = 'my runs.db'\n")
    for command in json.loads(cli("run", "--json", *argv)[1])["next"]:
        program, *words = shlex.split(command)
        assert program == "orchestrator"
        assert cli(*words)[0] == 0, command


def test_sign_ons_on_the_instances_of_another_run(cli: Any, home: Path) -> None:
    kept = json.loads(cli("load", "--instances", "2", "--concurrency", "2", "--on-success", "keep", "--json")[1])
    assert kept["existing"]["application"] == 2
    again = json.loads(cli("load", "--reuse", kept["run"], "--instances", "4", "--rounds", "3", "--json")[1])
    assert again["counts"] == {"completed": 4}
    states = {state["state"]: state["ok"] for state in again["statistics"]["states"]}
    assert (states["create_application"], states["exchange_token"]) == (0, 12)
    assert again["existing"] == {}
    code, out, _ = cli("cleanup", kept["run"])
    assert code == 0
    assert "Nothing of it exists" in out


USAGE = {
    "an impossible stage": (["--stages", "30s:x"], "stages (from --stages): '30s:x' is not a stage"),
    "a stage of no time": (["--stages", "0s:5"], "stages: a stage lasts 0 s: more than 0"),
    "two shapes": (["--rate", "5", "--duration", "9s", "--stages", "9s:9"], "stages: ramp the concurrency"),
    "a rate without an end": (["--rate", "5"], "rate: needs an end"),
    "an odd duration": (["--duration", "5 parsecs"], "duration (from --duration): '5 parsecs' is not a duration"),
    "odd rounds": (["--rounds", "many"], "rounds (from --rounds): must be a whole number from 1 on, or 'endless', not 'many'"),
    "endless rounds": (["--rounds", "endless"], "rounds: endless rounds need an end"),
    "an unknown state": (
        ["--threshold", "exchange.p95 < 1s"],
        "threshold: 'exchange.p95 < 1s': nothing is measured as 'exchange'",
    ),
    "a threshold that is none": (["--threshold", "fast"], "threshold: 'fast' is not a threshold"),
    "a report in no place": (["--report", "/proc/nothing/x.html"], "report: /proc/nothing/x.html cannot be written"),
    "a report that is a folder": (["--report", "."], "report: . is a folder"),
    "no such scenario": (["nothing.toml"], "'nothing.toml' cannot be read"),
    "no such run to use": (["--reuse", "261123-k7m3qp"], "run 261123-k7m3qp is not in"),
    "an impossible run to use": (["--reuse", "X_1"], "'X_1' is not the id of a run"),
    "no instances": (["--instances", "0"], "instances: 0 is less than 1"),
    "a graceful stop without end": (["--graceful-stop", "9" * 400 + "s"], "is longer than a year"),
    "a seed that is too long": (["--seed", "9" * 30], "seed (from --seed): '999999999999999999999999999999' is too large"),
    "a report with a name that is too long": (["--report", "x" * 300], "cannot be written: File name too long"),
    "a store of nobody": (["--store", "~nosuchuser/x.db"], "store: '~nosuchuser/x.db'"),
    "stages and a number": (["--stages", "9s:5", "--concurrency", "5"], "concurrency: cannot be given beside stages"),
    "a rate next to nothing": (["--rate", "1e-300", "--duration", "1s"], "rate: 1e-300 is not between 1.16e-05 (one a day) and"),
    "a threshold that always holds": (["--threshold", "failed < 101%"], "threshold: 'failed < 101%' always holds"),
    "a threshold that never holds": (["--threshold", "sign_on.p95 < -5ms"], "threshold: 'sign_on.p95 < -5ms' never holds"),
    "a threshold of 309 digits": (["--threshold", f"failed < {'9' * 309}"], "the limit is beyond anything that can be measured"),
    "a percentile of nothing": (
        ["--threshold", "p95 < 5ms"],
        "say of which state or segment, like 'create_application.p95 < 5ms'",
    ),
    "half a seed": (["--seed", "0.5"], "seed (from --seed): '0.5' is not a whole number"),
    "rounds of 5000 digits": (["--rounds", "9" * 5000], "must be a whole number from 1 on, or 'endless', not '999"),
    "odd rates": (["--rates", "configuration=fast"], "'configuration=fast' is not of the form"),
    "too little time": (
        ["--duration", "5s", "--concurrency", "9", "--rounds", "endless", "--rates", "configuration=1"],
        "duration: 5s is too short: 9 instances with",
    ),
}


@pytest.mark.parametrize("case", list(USAGE))
def test_bad_input_is_one_clear_line_before_anything_starts(cli: Any, home: Path, case: str) -> None:
    argv, message = USAGE[case]
    code, _, err = cli("load", *argv)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert json.loads(cli("list", "--json")[1])["runs"] == []


def test_a_file_without_a_scenario_is_refused(cli: Any, home: Path) -> None:
    Path("x.toml").write_text("[run]\ninstances = 3\n")
    code, _, err = cli("load", "x.toml")
    assert code == 2
    assert "load (from x.toml): there is no such table in the scenario" in err


def test_settings_of_a_used_run_cannot_be_changed(cli: Any, home: Path) -> None:
    kept = json.loads(cli("load", "--on-success", "keep", "--json")[1])["run"]
    code, _, err = cli("load", "--reuse", kept, "--claim", "other")
    assert code == 2
    assert f"use: takes the settings of run {kept}: --claim cannot change them" in err
    assert cli("cleanup", kept)[0] == 0


def test_a_scenario_that_a_threshold_has_ended_says_so(cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.load.abort.SETTLED_S", 0.0)
    argv = ["--concurrency", "2", "--duration", "60s", "--threshold", "sign_on.p50 < 1us", "--abort"]
    code, out, _ = cli("load", *argv)
    assert code == 4
    assert "ended early, by a broken threshold" in out
    assert "missed" not in out
    # The threshold may hold at the end of more measurement; the scenario was cut short all the same.
    summary = [
        "--concurrency",
        "2",
        "--duration",
        "60s",
        "--threshold",
        "errors > 5",
        "--threshold",
        "sign_on.p50 < 1us",
        "--abort",
    ]
    assert cli("load", *summary)[0] == 4
    assert json.loads(cli("report", "--json")[1])["aborted"] is True
