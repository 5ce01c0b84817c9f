"""The output: closed, full, in another encoding, or with text like markup."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Event, EventKind
from orchestrator.cli.console import Output
from orchestrator.cli.display.single import LiveTable
from states.token_fulfillment import WORKFLOW


def shell(line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A shell line in which ``orchestrator`` is the program under test."""
    program = f'orchestrator() {{ "{sys.executable}" -m orchestrator "$@"; }}; set -o pipefail; {line}'
    return subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, timeout=60, check=False, env=os.environ | environ
    )


def test_a_run_is_suspended_when_its_stdout_is_closed(cli: Any) -> None:
    done = shell("orchestrator run --instances 100000 --rounds 2 | head -1")
    assert done.returncode == 130
    assert "the output was closed: stopping; to continue: orchestrator resume" in done.stderr
    assert "Traceback" not in done.stderr
    (run,) = json.loads(cli("list", "--json")[1])["runs"]
    assert run["status"] == "interrupted"
    assert shell("orchestrator list | true").returncode in (0, 141)


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-", ">&- 2>&- <&-"])
def test_a_closed_standard_stream_is_no_matter(home: Path, closed: str) -> None:
    done = shell(f"orchestrator run {closed}")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_a_full_disk_behind_the_output_is_told_in_one_line(home: Path) -> None:
    done = shell("orchestrator list >/dev/full")
    assert done.returncode == 2
    assert done.stderr.strip() == "orchestrator: the output cannot be written: No space left on device"


def test_letters_that_the_output_has_not_are_escaped(home: Path) -> None:
    done = shell("orchestrator run --value 'a→b'", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "a\\u2192b" in done.stdout


def test_text_like_markup_or_an_emoji_is_printed_unchanged(cli: Any) -> None:
    value = "a:key:b [/bold] [red]"
    assert value in cli("run", "--value", value)[1]
    proof = next(iter(json.loads(cli("run", "--json", "--value", value)[1])["proofs"].values()))
    assert value in proof["claim found"]


def test_an_error_that_looks_like_markup_does_not_break_the_table() -> None:
    table = LiveTable(WORKFLOW, "a [/title]")
    common = {"run_id": "r", "number": 0, "at": 0.0, "state": "create_scope"}
    table(Event(kind=EventKind.STARTED, **common))
    table(Event(kind=EventKind.RETRY, error="see [/docs/limits]", **common))
    output = Output(file=io.StringIO(), width=120)
    output.print(table._table())
    assert "create_scope: see [/docs/limits]" in output.file.getvalue()
