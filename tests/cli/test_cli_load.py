"""The commands load, report and compare from their user's view."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import anyio
import pytest

from orchestrator import PermanentError, cleanup, open_store, start
from orchestrator.inspection.explain import why_not_recorded
from tests.cli.test_cli import cli
from tests.support.toy import Ledger, toy

__all__ = ["cli"]


def test_a_load_run_ends_with_its_verdicts_and_what_it_measured(cli: Any, home: Path) -> None:
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


def test_all_reports_of_a_run(cli: Any, home: Path) -> None:
    files = ["--report", "out/load.html", "--csv", "out/numbers", "--junit", "out/load.xml"]
    code, out, _ = cli("load", "--instances", "4", "--concurrency", "2", "--rounds", "2", "--json", *files)
    data = json.loads(out)
    assert code == 0
    assert data["counts"] == {"completed": 4}
    assert data["admitted"] == 4
    states = {state["state"]: state for state in data["statistics"]["states"]}
    assert states["create_application"]["ok"] == 4
    assert states["exchange_token"]["ok"] == 8
    assert states["exchange_token"]["whole"]["p95"] >= states["exchange_token"]["attempt"]["min"] > 0
    assert data["statistics"]["segments"]["sign_on"]["count"] == 8

    page = Path("out/load.html").read_text()
    embedded = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert sum(t * w for t, w in zip(embedded["started"], [1] * 99, strict=False)) > 0
    assert set(embedded["latency"]) >= {"sign_on", "provisioning", "instance", "exchange_token"}
    assert "http://" not in re.sub(r"http://www.w3.org\S+", "", page.split("<script>")[0])
    assert not re.search(r"(src|href)=", page.split("<script>")[0]), "the page needs nothing else"
    assert "again 4" in page

    rows = list(csv.DictReader(Path("out/numbers/states.csv").read_text().splitlines()))
    assert {row["state"] for row in rows if row["what"] == "whole"} == set(states)
    timeline = list(csv.DictReader(Path("out/numbers/timeline.csv").read_text().splitlines()))
    assert sum(int(row["started"]) for row in timeline if row["series"] == "instance") == 4

    suite = ET.parse("out/load.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")


def test_a_broken_threshold_is_a_failed_case_of_junit(cli: Any, home: Path) -> None:
    code, _, _ = cli("load", "--instances", "2", "--threshold", "introspect_token.max < 1us", "--junit", "x.xml")
    assert code == 4
    root = ET.parse("x.xml").getroot()
    assert root.get("failures") == "1"
    [failure] = root.iter("failure")
    assert "it is" in str(failure.get("message"))


def test_report_and_compare_of_stored_runs(cli: Any, home: Path) -> None:
    runs = [json.loads(cli("load", "--instances", str(n), "--concurrency", "2", "--json")[1])["run"] for n in (2, 3)]
    code, out, _ = cli("report", runs[0])
    assert (code, out.strip()) == (0, f"written: {runs[0]}.html")
    assert runs[0] in Path(f"{runs[0]}.html").read_text()
    code, out, _ = cli("compare", "--output", "two.html")
    assert code == 0
    assert re.search(r"instances started +2 +3 +\+50%", out)
    assert "exchange_token p95, ms" in out
    page = Path("two.html").read_text()
    assert all(run in page for run in runs)
    data = json.loads(cli("compare", *runs, "--json")[1])
    assert data["runs"] == runs
    assert len(data["latencies"]["sign_on"]) == 3


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
    "no such run to use": (["--reuse", "261123-000000"], "run 261123-000000 is not in"),
    "what is no run to use": (["--reuse", "x"], "'x' is not the id of a run"),
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
def test_what_cannot_be_done_is_one_clear_line_before_anything_starts(cli: Any, home: Path, case: str) -> None:
    argv, message = USAGE[case]
    code, _, err = cli("load", *argv)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert json.loads(cli("list", "--json")[1]) == []


def test_a_file_without_a_scenario_is_refused(cli: Any, home: Path) -> None:
    Path("x.toml").write_text("[run]\ninstances = 3\n")
    code, _, err = cli("load", "x.toml")
    assert code == 2
    assert "load (from x.toml): there is no such table in the scenario" in err


def test_compare_needs_two_runs(cli: Any, home: Path) -> None:
    cli("load", "--json")
    code, _, err = cli("compare")
    assert code == 2
    assert "there is only one run" in err


def test_an_archive_is_of_one_instance(cli: Any, home: Path) -> None:
    run = json.loads(cli("run", "--json")[1])["run"]
    code, _, err = cli("show", run, "--har", "x.har")
    assert code == 2
    assert "--har needs an instance" in err


def test_requests_of_a_successful_instance_are_kept_if_the_run_was_asked_to(cli: Any, home: Path) -> None:
    run = json.loads(cli("load", "--instances", "2", "--record", "all", "--json")[1])["run"]
    code, out, _ = cli("show", f"{run}-1", "--har", "1.har")
    assert code == 0
    assert "Requests, secrets masked" in out
    text = Path("1.har").read_text()
    urls = [entry["request"]["url"] for entry in json.loads(text)["log"]["entries"]]
    assert sum(url.endswith("/applications") for url in urls) == 1
    assert sum(url.endswith("/as/token") for url in urls) == 1
    assert len(urls) >= 15 + 5  # including those of its rollback
    assert "eyJ" not in text  # no token, no assertion
    stored = b"".join(path.read_bytes() for path in (home / "data" / "orchestrator").glob("runs.db*"))
    assert b"startedDateTime" not in stored  # sealed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--duration", "2s", "--rounds", "endless"], "record: all requests can be stored for at most 100 rounds per instance"),
        (["--rounds", "101"], "record: all requests can be stored for at most 100 rounds"),
    ],
)
def test_not_every_request_of_a_soak_is_kept(cli: Any, argv: list[str], message: str) -> None:
    code, _, err = cli("load", "--record", "all", *argv)
    assert (code, len(err.splitlines())) == (2, 1)
    assert message in err


async def reason(ledger: Ledger, *, stop: bool = False, clean: bool = False, **more: Any) -> str:
    """The reason given when no request of the instance of such a run is stored."""
    reached = anyio.Event()
    if stop:
        ledger.script["run two"] = [lambda step: reached.set() or anyio.sleep_forever()]
    async with open_store("memory:") as store:
        async with start(toy(ledger), store=store, **more) as run:
            if stop:
                await reached.wait()
                run.cancel()
            await run.wait()
        if clean:
            async with cleanup(toy(ledger), run.id, store=store) as cleaning:
                await cleaning.wait()
        return why_not_recorded(await store.run(run.id), await run.instance(0))


async def test_the_reason_why_no_request_is_stored_is_the_true_one() -> None:
    hint = ", and the run keeps those of failed instances (start it with --record all to keep all)"
    assert await reason(Ledger()) == f"it completed{hint}"
    assert await reason(Ledger(), stop=True) == f"it has not failed{hint}"
    assert await reason(Ledger(), stop=True, clean=True) == f"it did not fail, `orchestrator cleanup` rolled it back{hint}"
    refused = Ledger(script={"run two": [PermanentError("no")]})
    assert await reason(refused) == "the process that saw it fail had sent none of its requests"
    assert await reason(Ledger(), recorded="all") == "it has sent none so far"


def test_an_archive_that_cannot_be_written_says_why(cli: Any, home: Path) -> None:
    run = json.loads(cli("run", "--json")[1])["run"]
    code, _, err = cli("show", f"{run}-0", "--har", "x.har")
    assert code == 2
    assert f"no request of {run}-0 is stored: it completed, and the run keeps those of failed instances (start it with" in err
    assert not Path("x.har").exists()


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


def written(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


EVERY_REPORT = ["a.html", "numbers/errors.csv", "numbers/states.csv", "numbers/timeline.csv", "x.xml"]


def test_reports_that_were_asked_for_survive_a_kill_and_are_written_by_resume(
    cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = home / "out"
    where.mkdir()
    Path(where / "soak.toml").write_text("[load]\ninstances = 60\nconcurrency = 2\ncsv = 'numbers'\njunit = 'x.xml'\n")
    argv = [sys.executable, "-m", "orchestrator", "load", "soak.toml", "--report", "a.html"]
    with subprocess.Popen(argv, cwd=where, env=os.environ, stdout=subprocess.DEVNULL) as load:
        while not any(row["counts"].get("completed", 0) > 2 for row in json.loads(cli("list", "--json")[1] or "[]")):
            assert load.poll() is None, "it has ended before it could be killed"
            time.sleep(0.05)
        load.kill()
    assert written(where) == ["soak.toml"]
    code, out, _ = cli("resume", "--junit", "second.xml")
    assert code == 0
    assert out.count("written: ") == 5
    assert written(where) == ["a.html", "numbers/errors.csv", "numbers/states.csv", "numbers/timeline.csv", "soak.toml"]
    assert ET.parse("second.xml").getroot().get("failures") == "0"


def test_resume_writes_the_reports_of_a_run_killed_after_its_end(cli: Any, home: Path) -> None:
    run = json.loads(cli("load", "--instances", "2", "--report", "a.html", "--csv", "numbers", "--junit", "x.xml", "--json")[1])[
        "run"
    ]
    for name in EVERY_REPORT:
        Path(name).unlink()
    code, out, _ = cli("resume", run)
    assert code == 0
    assert "there is nothing to resume" in out
    assert [name for name in EVERY_REPORT if not Path(name).exists()] == []


def test_a_single_run_writes_junit_with_a_case_for_each_of_its_states(cli: Any, home: Path) -> None:
    assert cli("run", "--junit", "x.xml")[0] == 0
    cases = list(ET.parse("x.xml").getroot().iter("testcase"))
    assert len(cases) == 15
    assert cases[0].get("classname") == "token-fulfillment.states"
    assert sum(float(str(case.get("time"))) for case in cases) > 0  # a single state may take less than a millisecond


def test_what_is_printed_fits_eighty_columns(cli: Any, home: Path) -> None:
    out = cli("load", "--instances", "2", "--rounds", "2")[1]
    table = out[out.index("Measured in") : out.index("rounds finished")]
    assert "introspect_token" in table
    assert max(map(len, table.splitlines()[1:])) <= 80
