"""The command ``store copy``."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import anyio
import pytest

from orchestrator import RunStatus, Status, open_store
from orchestrator.cli import main
from orchestrator.storage.lease import Owner, this_process
from orchestrator.storage.records import Save
from orchestrator.storage.sqlite.store import SQLiteStore
from orchestrator.storage.transfer import RunFrame
from tests.support.stores import RUN, checkpoint, event, record

SECOND = "261124-zzzzzz"


@pytest.fixture
def filled(tmp_path: Path) -> str:
    """A store with two runs."""

    async def fill() -> None:
        async with open_store(str(tmp_path / "old.db")) as store:
            for number, run_id in enumerate((RUN, SECOND)):
                await store.create_run(record(run_id, status=RunStatus.FINISHED, created_at=number), {"one": "f1"})
            shard = await store.claim(RUN, 0, this_process(), 30)
            await store.save(Save(shard, checkpoint(0, Status.COMPLETED, "completed"), [event(0, 1)]))
            await store.release([shard], [0])

    anyio.run(fill)
    return str(tmp_path / "old.db")


def runs_of(store: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The runs that ``list`` shows."""
    capsys.readouterr()
    assert main(["list", "--store", store, "--json"]) == 0
    return [row["run"] for row in json.loads(capsys.readouterr().out)["runs"]]


def test_all_runs_are_copied_and_a_second_time_none(
    filled: str, postgresql_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, target in ((filled, postgresql_url), (postgresql_url, str(tmp_path / "new.db"))):
        capsys.readouterr()
        assert main(["store", "copy", source, target]) == 0
        assert capsys.readouterr().out == f"{RUN}  1 instance\n{SECOND}  0 instances\n2 runs copied\n"
        assert main(["store", "copy", source, target]) == 0
        assert capsys.readouterr().out == "0 runs copied, 2 already there\n"
        assert runs_of(target, capsys) == [SECOND, RUN]


def test_one_run_is_copied_by_its_id_and_refused_the_second_time(
    filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "new.db")
    assert main(["store", "copy", filled, target, "--run", SECOND, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"copied": {SECOND: 0}, "present": [], "in_use": {}}
    assert runs_of(target, capsys) == [SECOND]
    assert main(["store", "copy", filled, target, "--run", SECOND]) == 2
    assert f"run {SECOND} is in the store {target} already" in capsys.readouterr().err
    assert main(["store", "copy", filled, target, "--run", "261123-aaaaaa"]) == 2


def test_a_driven_run_is_reported_and_the_others_are_copied(
    filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def claim() -> None:
        async with open_store(filled) as store:
            await store.claim(SECOND, 0, this_process(), 3600)

    anyio.run(claim)
    assert main(["store", "copy", filled, str(tmp_path / "new.db")]) == 2
    said = capsys.readouterr()
    assert "1 run copied, 1 in use" in said.out
    assert f"run {SECOND} was not copied: process" in said.err
    assert runs_of(str(tmp_path / "new.db"), capsys) == [RUN]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "SOURCE: is missing"),
        (["old.db"], "TARGET: is missing"),
        (["memory:", "new.db"], "ends with its process"),
        (["old.db", "postgresql://me:hidden@localhost/x"], "every user of this machine can read"),
        (["nothing.db", "new.db"], "nothing has been run with it"),
    ],
)
def test_wrong_stores_are_refused_in_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "copy", *argv]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "hidden" not in said
    assert said.count("\n") <= 3


def test_ctrl_c_deletes_the_copy_that_is_not_finished(
    filled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = SQLiteStore.finish_import

    async def interrupted(self: SQLiteStore, frame: RunFrame, owner: Owner) -> None:
        if frame.run.id == SECOND:
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        await finish(self, frame, owner)

    target = str(tmp_path / "new.db")
    with monkeypatch.context() as patched:
        patched.setattr(SQLiteStore, "finish_import", interrupted)
        assert main(["store", "copy", filled, target]) == 130
    said = capsys.readouterr()
    assert said.out == f"{RUN}  1 instance\n1 run copied\n"
    assert "repeat the command" in said.err
    assert main(["store", "copy", filled, target]) == 0
    assert capsys.readouterr().out == f"{SECOND}  0 instances\n1 run copied, 1 already there\n"
