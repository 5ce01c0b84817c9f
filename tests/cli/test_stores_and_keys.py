"""Stores and encryption keys from the user's view: missing, wrong, lost, not ours."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Event, EventKind
from orchestrator.cli import main
from orchestrator.storage.encryption import new_key


def store_of(home: Path) -> Path:
    return home / "data" / "orchestrator" / "runs.db"


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


def test_a_wrong_key_is_refused_with_a_remedy_and_list_still_works(cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert err.count("  application ") >= err.count("  resource ") >= 1, err  # instance 0 may be a state behind
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
