"""What a workflow prepares while the command line reads its settings."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from threading import Event, current_thread, main_thread

import attrs
import pytest

from orchestrator.cli import main
from orchestrator.definition import registry
from states.sandbox import SigningKey
from states.token_fulfillment import WORKFLOW


def _install(monkeypatch: pytest.MonkeyPatch, prepare: object) -> None:
    monkeypatch.setattr(registry, "_load", lambda point: attrs.evolve(WORKFLOW, prepare=prepare))


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_folder")
def test_a_command_that_opens_services_prepares_them_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, prepared = [], Event()

    def prepare() -> None:
        threads.append(current_thread())
        prepared.set()

    _install(monkeypatch, prepare)
    assert main(["resume", "--store", "none.db"]) == 2
    assert prepared.wait(10)
    assert threads
    assert main_thread() not in threads


@pytest.mark.usefixtures("in_folder")
def test_a_failed_preparation_is_left_to_the_services(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Event()

    def prepare() -> None:
        failed.set()
        raise ImportError("no such module")

    _install(monkeypatch, prepare)
    assert main(["resume", "--store", "none.db"]) == 2
    assert failed.wait(10)
    assert "no such module" not in capsys.readouterr().err


def test_garbage_is_collected_while_a_command_runs() -> None:
    source = (
        "import gc, sys, orchestrator.__main__ as program\n"
        "assert not gc.isenabled()\n"
        "sys.argv = ['orchestrator', 'graph']\n"
        "try:\n    program.entry()\nexcept SystemExit as end:\n    print(end.code, gc.isenabled(), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, text=True)
    assert done.stderr.split() == ["0", "True"]
    assert gc.isenabled()


def test_signing_keys_differ_and_keep_their_id() -> None:
    one, other = SigningKey(), SigningKey()
    assert one.kid != other.kid
    assert SigningKey(one.private).kid == one.kid
