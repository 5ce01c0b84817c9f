"""``--data`` of the commands ``run`` and ``load``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs import completed
from tests.support.waiting import block_until


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "--data", "missing.csv"], "data: 'missing.csv' cannot be read: No such file or directory"),
        (["run", "--data", "bad.csv"], "data: bad.csv line 3: column 'email': 'x' is not an email address"),
        (["load", "--data", "bad.csv", "--no-drive"], "data: bad.csv line 3: column 'email': 'x' is not an email address"),
        (["run", "--data", "empty.csv"], "data: empty.csv has no rows"),
        (["run", "--data", "good.csv", "--instances", "3"], "data: there are 2 rows for 3 instances; add rows"),
        (["load", "--data", "good.csv", "--rate", "1", "--duration", "5s"], "data: there are 2 rows for 5 instances; add rows"),
    ],
)
def test_wrong_data_is_one_line_and_no_run_is_stored(cli: Any, home: Path, argv: list[str], message: str) -> None:
    (home / "good.csv").write_text("email\na@example.org\nb@example.org\n")
    (home / "bad.csv").write_text("email\na@example.org\nx\n")
    (home / "empty.csv").write_text("email\n")
    code, out, err = cli(*argv)
    assert (code, out) == (2, "")
    assert err.startswith(f"orchestrator: {message}")
    assert len(err.splitlines()) == 1
    assert json.loads(cli("list", "--json")[1])["total"] == 0


def test_each_row_is_an_instance_and_may_come_from_the_file_of_settings(cli: Any, home: Path) -> None:
    (home / "users.jsonl").write_text('{"username": "ada", "value": "v-ada"}\n{"username": "bob"}\n')
    (home / "orchestrator.toml").write_text("[run]\ndata = 'users.jsonl'\n")
    code, out, _ = cli("run", "--json")
    document = json.loads(out)
    assert (code, document["counts"]) == (0, {"completed": 2})
    assert '"v-ada"' in document["proofs"][f"{document['run']}-0"]["claim found"]
    users = [effect["name"] for effect in document["effects"] if effect["kind"] == "user"]
    assert users == ["ada", "bob"]


def test_rows_survive_a_kill_and_the_loss_of_their_file(cli: Any, home: Path) -> None:
    path = home / "rows.csv"
    path.write_text("value\n" + "".join(f"v-{number}\n" for number in range(60)))
    argv = [sys.executable, "-m", "orchestrator", "load", "--id", "rows", "--data", "rows.csv", "--concurrency", "2"]
    with subprocess.Popen([*argv, "--on-success", "keep"], cwd=home, env=os.environ, stdout=subprocess.DEVNULL) as load:
        block_until(lambda: completed(home) >= 3 or load.poll() is not None)
        assert load.poll() is None, "it has ended before it could be killed"
        load.kill()
    path.unlink()
    assert cli("resume", "rows", "--json")[0] == 0
    shown = json.loads(cli("show", "rows-59", "--json")[1])
    assert "v-59" in json.dumps(shown)
