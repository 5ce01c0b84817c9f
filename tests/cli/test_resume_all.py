"""``resume --all``."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator import Options, find_key, open_store, start
from orchestrator.settings import default_key_file
from states.token_fulfillment import WORKFLOW
from tests.support.tenant import sandbox, settings_for
from tests.support.waiting import block_until


def store_runs(home: Path, *run_ids: str) -> None:
    """Store runs of one instance against a tenant that does not exist, and that nobody has driven."""
    vault = find_key({}, default_key_file(), create=True)

    async def fill() -> None:
        async with open_store(str(home / "data" / "orchestrator" / "runs.db")) as store, sandbox() as emulator:
            for run_id in run_ids:
                options = Options(vault=vault)
                async with start(
                    WORKFLOW, settings_for(emulator), store=store, run_id=run_id, drive=False, options=options
                ) as run:
                    await run.wait()

    anyio.run(fill)


def test_without_an_unfinished_run_there_is_nothing_to_do(cli: Any) -> None:
    cli("run")
    code, out, _ = cli("resume", "--all")
    assert (code, out) == (0, "There is no unfinished run; `orchestrator list` shows all runs.\n")
    assert json.loads(cli("resume", "--all", "--json")[1]) == {"runs": [], "exit_code": 0}


def test_each_run_has_a_line_with_its_end_or_its_error(cli: Any, home: Path) -> None:
    store_runs(home, "gone-a", "gone-b")
    code, out, _ = cli("resume", "--all")
    assert code == 2
    assert sorted(line.partition("  ")[0] for line in out.splitlines()) == ["gone-a", "gone-b"]
    assert all("get a worker token" in line for line in out.splitlines()), out
    document = json.loads(cli("resume", "--all", "--json")[1])
    assert document["exit_code"] == 2
    assert sorted((row["run"], row["status"], row["exit_code"]) for row in document["runs"]) == [
        ("gone-a", None, 2),
        ("gone-b", None, 2),
    ]


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["--concurrency", "3"], "--concurrency says how many runs --all resumes at once; add --all"),
        (["--all", "--concurrency", "0"], "concurrency: 0 is less than 1"),
    ],
)
def test_a_number_of_runs_at_once_that_makes_no_sense_is_refused(cli: Any, argv: list[str], error: str) -> None:
    cli("run")
    code, out, err = cli("resume", *argv)
    assert (code, out) == (2, "")
    assert err == f"orchestrator: {error}\n"


def test_killed_runs_are_finished_with_their_reports(cli: Any, home: Path) -> None:
    for name in ("one", "two"):
        argv = [sys.executable, "-m", "orchestrator", "load", "--id", name, "--instances", "8", "--csv", f"csv-{name}"]
        with subprocess.Popen(argv, cwd=home, env=os.environ, stdout=subprocess.DEVNULL) as load:
            block_until(lambda name=name: name in running(home) or load.poll() is not None)
            assert load.poll() is None, "it has ended before it could be killed"
            load.kill()
    code, out, _ = cli("resume", "--all")
    assert code == 0
    assert sorted(line for line in out.splitlines() if "  finished, " in line) == [
        "one  finished, 8 completed",
        "two  finished, 8 completed",
    ]
    for name in ("one", "two"):
        assert (home / f"csv-{name}" / "states.csv").exists()


def running(home: Path) -> set[str]:
    """Runs of the default store that have instances."""
    try:
        with closing(sqlite3.connect(f"file:{home / 'data/orchestrator/runs.db'}?mode=ro", uri=True)) as db:
            return {row[0] for row in db.execute("SELECT DISTINCT run_id FROM instances")}
    except sqlite3.OperationalError:
        return set()  # the file or its tables are not made yet


@pytest.mark.parametrize("more", [["261123-k7m3qp"], ["--web"], ["--junit", "x.xml"]])
def test_all_goes_with_nothing_that_concerns_one_run(cli: Any, home: Path, more: list[str]) -> None:
    code, out, err = cli("resume", "--all", *more)
    assert (code, out) == (2, "")
    assert "--all resumes every run, so it takes neither RUN, nor --web, nor a report of one run" in err
