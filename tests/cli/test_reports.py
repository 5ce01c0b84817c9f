"""Reports and comparisons from the user's view."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.support.runs import completed
from tests.support.waiting import block_until


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
    embedded = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))
    assert sum(t * w for t, w in zip(embedded["started"], [1] * 99, strict=False)) > 0
    assert set(embedded["latency"]) >= {"sign_on", "provisioning", "instance", "exchange_token"}
    assert "http://" not in re.sub(r"http://www.w3.org\S+", "", page.split("<script>")[0])
    assert not re.search(r"(src|href)=", page.split("<script>")[0]), "the page needs nothing else"
    assert "again 4" in page

    rows = list(csv.DictReader(Path("out/numbers/states.csv").read_text().splitlines()))
    assert {row["state"] for row in rows if row["series"] == "whole"} == set(states)
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


def test_compare_needs_two_runs(cli: Any, home: Path) -> None:
    cli("load", "--json")
    code, _, err = cli("compare")
    assert code == 2
    assert "there is only one run" in err


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
        block_until(lambda: completed(home) > 2 or load.poll() is not None)
        assert load.poll() is None, "it has ended before it could be killed"
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


def test_the_output_fits_eighty_columns(cli: Any, home: Path) -> None:
    out = cli("load", "--instances", "2", "--rounds", "2")[1]
    table = out[out.index("Measured in") : out.index("rounds finished")]
    assert "introspect_token" in table
    assert max(map(len, table.splitlines()[1:])) <= 80
