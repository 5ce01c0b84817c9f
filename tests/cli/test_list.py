"""The command ``list``: nothing is cut in silence."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator import RunStatus, SettingError, open_store
from orchestrator.cli import main
from orchestrator.cli.selection import parse_moment
from tests.support.stores import record

NEWEST = datetime(2026, 11, 24, 12).astimezone().timestamp()


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], home: Path) -> Any:
    """Runs ``list`` on a store of 121 runs. Returns exit code, stdout and stderr."""

    async def fill() -> None:
        async with open_store("runs.db") as store:
            for number in range(121):
                status = RunStatus.INTERRUPTED if number < 3 else RunStatus.FINISHED
                await store.create_run(record(f"run{number:03}", status=status, created_at=NEWEST - 60 * (120 - number)), {})

    anyio.run(fill)

    def run(*argv: str) -> tuple[int, str, str]:
        code = main(["list", "--store", "runs.db", *argv])
        out, err = capfd.readouterr()
        return int(code), out, err

    return run


def ids(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines() if line.startswith(("run0", "run1"))]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--status", "done"],
            "status: must be one of running, interrupted, cleaning_up, retrying, rolling_back, finished, not 'done'",
        ),
        (
            ["--since", "yesterday"],
            "since: 'yesterday' is not a date (2026-11-24), a time (2026-11-24T09:30) or an age (2h, 30d)",
        ),
        (["--since", "1h", "--before", "2h"], "since: 1h is not earlier than --before 2h, so no run can match"),
        (["--limit", "0"], "limit: 0 is not between 1 and 10000; --all lists every run"),
        (["--limit", "5", "--all"], "limit: cannot be given beside --all; leave one of them out"),
        (["--after", "run999"], "run run999 is not in the store runs.db; `orchestrator list` shows the runs"),
        (["--after", "Run_1"], "'Run_1' is not the id of a run"),
    ],
)
def test_a_wrong_flag_is_one_line(cli: Any, argv: list[str], message: str) -> None:
    code, out, err = cli(*argv)
    assert (code, out) == (2, "")
    assert err.startswith(f"orchestrator: {message}")


def test_the_pages_show_every_run_once(cli: Any, capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli()
    assert code == 0
    assert out.splitlines()[-1].startswith("100 of 121 runs; the next page: orchestrator list --after run021")
    assert main(shlex.split(out.splitlines()[-1].partition(": orchestrator ")[2])) == 0
    rest = capfd.readouterr().out
    assert rest.splitlines()[-1] == "21 of 121 runs; this is the last page"
    assert ids(out) + ids(rest) == [f"run{number:03}" for number in reversed(range(121))]


def test_the_next_page_keeps_the_filter(cli: Any) -> None:
    _, out, _ = cli("--status", "finished", "--since", "2026-11-24T11:00", "--limit", "50")
    command = out.splitlines()[-1].partition("the next page: ")[2]
    assert command == ("orchestrator list --after run071 --limit 50 --status finished --since 2026-11-24T11:00 --store runs.db")


def test_all_lists_every_run(cli: Any) -> None:
    _, out, _ = cli("--all")
    assert len(ids(out)) == 121
    assert "121 runs" not in out


def test_filters_select(cli: Any) -> None:
    assert ids(cli("--status", "running", "--status", "interrupted")[1]) == ["run002", "run001", "run000"]
    assert ids(cli("--status", "running,interrupted", "--limit", "1")[1]) == ["run002"]
    assert ids(cli("--since", "2026-11-24T11:59")[1]) == ["run120", "run119"]
    assert ids(cli("--before", "2026-11-24T10:01")[1]) == ["run000"]
    assert cli("--workflow", "other")[1] == "No run matches.\n"


def test_json_has_the_runs_their_number_and_the_next_page(cli: Any) -> None:
    first = json.loads(cli("--json", "--limit", "2")[1])
    assert [row["run"] for row in first["runs"]] == ["run120", "run119"]
    assert (first["total"], first["next"]) == (121, "run119")
    everything = json.loads(cli("--json", "--all")[1])
    assert (len(everything["runs"]), everything["total"], everything["next"]) == (121, 121, None)


def test_a_moment_is_a_date_a_time_or_an_age() -> None:
    midnight = datetime(2026, 11, 24).astimezone().timestamp()
    assert parse_moment("since", "2026-11-24", 0) == parse_moment("since", "20261124", 0) == midnight
    assert parse_moment("since", "2026-11-24T09:30+00:00", 0) == 1795512600
    assert parse_moment("since", "1h30m", 10_000) == 4600
    for wrong in ("", "2026-11-24 x", "-1h", "99999d"):
        with pytest.raises(SettingError):
            parse_moment("since", wrong, 0)
