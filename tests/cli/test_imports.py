"""Imports of each command: one that needs little starts quickly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import SUMMARIES
from orchestrator.cli.commands import FLAGS, function_of

HEAVY = (
    "aiohttp",
    "cryptography",
    "jinja2",
    "psutil",
    "jwt",
    "states.sandbox.app",
    "states.pingone",
    "rich.live",
    "orchestrator.driving.coordinator",
)
PROGRAM = """
import sys
from orchestrator.cli import entry
argvs = " ".join(sys.argv[2:]).split(" + ")
code = max(entry(argv.split()) for argv in argvs)
print(",".join(name for name in sys.argv[1].split(",") if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


def imported(names: tuple[str, ...], *argv: str) -> list[str]:
    """The modules of this list that a command, or several with ``+`` between them, has imported when it ends."""
    command = [sys.executable, "-c", PROGRAM, ",".join(names), *argv]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return [name for name in done.stderr.strip().split(",") if name]


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["sandbox", "--help"]], ids=" ".join)
def test_the_help_imports_neither_the_engine_nor_a_workflow(argv: list[str]) -> None:
    assert (
        imported((*HEAVY, "anyio", "transitions", "cattrs", "orchestrator.storage", "orchestrator.definition.workflow"), *argv)
        == []
    )


@pytest.mark.parametrize("argv", [["list"], ["list", "--json"], ["list", "--help"]], ids=" ".join)
def test_list_imports_neither_client_nor_encryption_nor_sandbox(argv: list[str]) -> None:
    assert imported(HEAVY, *argv) == []


def test_show_imports_neither_client_nor_sandbox(tmp_path: Path) -> None:
    store = f"--store={tmp_path / 'runs.db'}"
    assert "states.sandbox.app" in imported(HEAVY, "run", store)
    commands = ["show", store, "+", "list", store, "+", "report", store, f"--output={tmp_path / 'run.html'}"]
    assert imported(("aiohttp", "states.sandbox.app"), *commands) == []


def test_run_imports_no_report_that_it_was_not_asked_for(tmp_path: Path) -> None:
    reports = ("orchestrator.report.csv", "orchestrator.report.html", "orchestrator.report.junit", "xml.etree.ElementTree")
    assert imported(reports, "run", f"--store={tmp_path / 'runs.db'}") == []


def test_the_lines_of_the_help_are_those_of_the_commands() -> None:
    assert list(SUMMARIES) == list(FLAGS)
    for name, summary in SUMMARIES.items():
        paragraph = (function_of(name).__doc__ or "").split("\n\n")[0]
        assert summary == " ".join(paragraph.split()), name
