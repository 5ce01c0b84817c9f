"""Driving a run from the command line, in this process: a terminal, signals, shards, reused instances."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Event, EventKind
from orchestrator.cli import main


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stdout a terminal of 100 columns. (A fixture could not: pytest replaces stdout when the test begins.)"""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return stream


def test_a_terminal_shows_one_instance_as_a_table_and_then_the_summary(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    assert main(["run"]) == 0
    shown = screen.getvalue()
    assert "rolled back" in shown  # a column of the live table
    assert "introspect_token" in shown
    assert shown.rstrip().splitlines()[-1].strip()
    assert "claim found" in shown


def test_a_terminal_shows_a_load_run_as_a_view(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    assert main(["load", "--instances", "3", "--threshold", "failed < 1%"]) == 0
    assert "failed < 1%" in screen.getvalue()


def pressing(*at: tuple[str, int]) -> Any:
    """An observer that presses Ctrl-C when this state of this instance begins."""
    left = list(at)

    def press(event: Event) -> None:
        if left and event.kind is EventKind.MOVED and (event.state, event.number) == left[0]:
            left.pop(0)
            signal.raise_signal(signal.SIGINT)

    return press


def test_the_first_ctrl_c_suspends_the_run_and_resume_completes_it(cli: Any, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["run", "--instances", "3"], [pressing(("create_scope", 1))])
    out, _ = capfd.readouterr()
    assert code == 130
    assert "SIGINT: finishing attempts in flight" in out
    assert "orchestrator resume" in out
    code, out, _ = cli("resume")
    assert code == 0
    assert "3 completed" in out


def test_the_second_ctrl_c_stops_at_once(cli: Any, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["run", "--instances", "2", "--concurrency", "2"], [pressing(("create_scope", 0), ("create_scope", 1))])
    out, _ = capfd.readouterr()
    assert code == 130
    assert "stopping at once" in out or "finishing attempts" in out
    code, out, _ = cli("resume")
    assert code == 0
    assert "2 completed" in out


@pytest.fixture
def tenant(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A sandbox in a process of its own, and the variables that name it."""
    command = [sys.executable, "-m", "orchestrator", "sandbox", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for name, value in json.loads(process.stdout.readline()).items():
            monkeypatch.setenv(name, value)
        yield
        process.terminate()


@pytest.mark.usefixtures("tenant")
def test_the_shards_of_a_stored_run_are_driven_one_after_the_other(cli: Any) -> None:
    load = ("load", "--instances", "4", "--concurrency", "2", "--shards", "2", "--no-drive")
    assert cli(*load)[1].count("--shard") == 2
    run = json.loads(cli(*load, "--json")[1])["run"]
    code, _, err = cli("drive", run, "--shard", "9")
    assert code == 2
    assert "9" in err
    code, out, err = cli("drive", run, "--shard", "0")
    assert code == 130, err  # no process drives the other shard
    assert "2 completed, 2 not started" in out
    assert f"orchestrator resume {run}" in out
    code, out, err = cli("drive", run, "--shard", "1")
    assert code == 0, err
    assert "4 completed" in out


def test_the_embedded_sandbox_belongs_to_one_process(cli: Any) -> None:
    code, _, err = cli("load", "--instances", "4", "--concurrency", "2", "--shards", "2", "--no-drive")
    assert code == 2
    assert "the embedded sandbox belongs to one process" in err


def test_reused_instances_keep_the_settings_of_their_run(cli: Any) -> None:
    run = json.loads(cli("run", "--json", "--claim", "first")[1])["run"]
    code, _, err = cli("load", "--reuse", run, "--claim", "second")
    assert code == 2
    assert "takes the settings of run" in err
    code, out, err = cli("load", "--reuse", run, "--instances", "2", "--on-success", "keep", "--json")
    assert code == 0, err
    assert json.loads(out)["counts"] == {"completed": 2}


@pytest.mark.parametrize("command", ["resume", "retry", "cleanup"])
def test_a_store_without_a_run_leaves_nothing_to_do(cli: Any, command: str) -> None:
    run = json.loads(cli("run", "--json")[1])["run"]
    assert cli("cleanup", run)[0] == 0
    code, out, _ = cli(command, run, "--json")
    assert code == 0
    assert json.loads(out)["run"] == run
