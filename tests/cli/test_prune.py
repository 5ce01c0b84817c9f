"""The command ``prune``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def runs(cli: Any) -> list[str]:
    return [row["run"] for row in json.loads(cli("list", "--json")[1])["runs"]]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "older-than: say which runs may go: those older than 30d, or all but the newest with keep"),
        (["--older-than", "30"], "older-than: '30' has no unit; write 30d for days, or 30h for hours"),
        (["--older-than", "a month"], "older-than: 'a month' is not a duration (like 30s, 2m or 1h30m)"),
        (["--keep", "-1"], "keep: -1 is not between 0 and 10000"),
        (["--keep", "1", "--status", "old"], "status: must be one of running"),
    ],
)
def test_a_wrong_flag_deletes_nothing(cli: Any, argv: list[str], message: str) -> None:
    (run,) = [json.loads(cli("run", "--json", "--on-success", "teardown")[1])["run"]]
    code, out, err = cli("prune", *argv)
    assert (code, out) == (2, "")
    assert err.startswith(f"orchestrator: {message}")
    assert runs(cli) == [run]


def test_prune_needs_a_store(cli: Any) -> None:
    code, _, err = cli("prune", "--keep", "0")
    assert code == 2
    assert "nothing has been run with it yet" in err


def test_finished_runs_go_and_those_with_effects_stay(cli: Any, home: Path) -> None:
    gone = json.loads(cli("run", "--json", "--on-success", "teardown")[1])["run"]
    kept = json.loads(cli("run", "--json")[1])["run"]
    state = home / "data" / "orchestrator" / "sandboxes"
    (state / f"{gone}.db").touch()  # as a killed process leaves it
    (home / "data" / "orchestrator" / "key").unlink()  # no key is needed
    why = f"keeps {kept}: 1 instance has effects that may exist; `orchestrator cleanup {kept}` removes them"

    code, out, _ = cli("prune", "--older-than", "0s", "--dry-run")
    assert (code, out.splitlines()) == (0, [why, f"would delete {gone}", "1 run would be deleted, 1 stays."])
    assert runs(cli) == [kept, gone]

    code, out, _ = cli("prune", "--older-than", "0s")
    assert code == 0
    assert out.splitlines()[0] == why
    assert out.splitlines()[1].startswith("1 run deleted, 1 stays")
    assert runs(cli) == [kept]
    assert [path.name for path in state.iterdir()] == [f"{kept}.db"]
    assert cli("show", gone)[0] == 2

    document = json.loads(cli("prune", "--keep", "0", "--json")[1])
    assert document == {"deleted": [], "kept": {kept: why.partition(": ")[2]}, "freed_bytes": 0, "dry_run": False}
