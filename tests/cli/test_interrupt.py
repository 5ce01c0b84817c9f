"""Ctrl-C at any moment of a real process: no traceback, and the signal is never lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Python reads this file before the program's first line. It sends Ctrl-C at a given occurrence of an audit event.
PRESS = """
import os, signal, sys

event, argument, left = {event!r}, {argument!r}, {number}

def press(name, arguments):
    global left
    if name == event and left >= 0 and (left < {number} or str(arguments[0]) == argument or not argument):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(press)
"""


def interrupted(home: Path, event: str, argument: str, number: int, *argv: str) -> subprocess.CompletedProcess[str]:
    """A command that is interrupted ``number`` events after the first one with this argument."""
    (home / "early").mkdir()
    (home / "early" / "sitecustomize.py").write_text(PRESS.format(event=event, argument=argument, number=number))
    environ = {**os.environ, "PYTHONPATH": str(home / "early")}
    command = [sys.executable, "-m", "orchestrator", *argv]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)


@pytest.mark.parametrize("number", [0, 1, 10, 40, 120])
def test_ctrl_c_while_the_program_is_imported_ends_it_in_silence(home: Path, number: int) -> None:
    done = interrupted(home, "import", "orchestrator.cli", number, "run")
    assert (done.returncode, done.stdout, done.stderr) == (-2, "", "")


@pytest.mark.parametrize("event", ["sqlite3.connect", "sqlite3.connect/handle", "socket.bind", "os.link"])
def test_ctrl_c_while_a_run_is_prepared_ends_it(home: Path, event: str) -> None:
    done = interrupted(home, event, "", 0, "run")
    assert done.returncode in (-2, 130), done
    assert "Traceback" not in done.stderr
    assert "Run" not in done.stdout or "orchestrator resume" in done.stdout


def test_ctrl_c_is_ignored_where_the_shell_says_so(home: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", IGNORED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "still ignored\n"), done.stderr


IGNORED = """
import signal, orchestrator.__main__
print("still ignored" if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else "handled")
"""
