"""What is exported, and that what is documented is true."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator import OrchestratorError, Status, cleanup, open_store, start
from orchestrator.cli.settings import EngineSettings, LoadSettings, RunSettings
from orchestrator.report.exit_codes import ExitCode
from orchestrator.settings import settings_of
from states.token_fulfillment import WORKFLOW, TokenFulfillmentSettings
from tests.support.toy import Ledger, toy

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else ""


def test_everything_that_is_exported_exists_and_is_described() -> None:
    assert sorted(orchestrator.__all__, key=lambda name: (name.upper() != name, name[0].islower(), name)) == orchestrator.__all__
    for name in orchestrator.__all__:
        thing = getattr(orchestrator, name)
        if callable(thing):
            assert thing.__doc__, name
        assert name in dir(orchestrator)
    with pytest.raises(AttributeError, match="module 'orchestrator' has no attribute 'nothing'"):
        orchestrator.nothing  # noqa: B018


def test_names_that_are_imported_on_first_use_are_those_that_type_checkers_see() -> None:
    tree = ast.parse((ROOT / "orchestrator" / "__init__.py").read_text())
    imports = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and str(node.module).startswith("orchestrator.")
    ]
    seen = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    assert seen == {f"orchestrator.{module}.{name}" for name, module in orchestrator._MODULE_OF.items()}
    assert sorted(orchestrator._MODULE_OF) == sorted(orchestrator.__all__)


def test_states_import_nothing_deeper_than_the_public_api() -> None:
    for path in (ROOT / "states").rglob("*.py"):
        deeper = re.findall(r"^\s*(?:from|import) orchestrator\.\S+", path.read_text(), re.MULTILINE)
        assert not deeper, path


@pytest.mark.parametrize("cls", [EngineSettings, RunSettings, LoadSettings, TokenFulfillmentSettings])
def test_every_setting_is_in_the_readme(cls: type[Any]) -> None:
    for s in settings_of(cls):
        assert f"`{s.flag}`" in README, s.flag
        for variable in s.env:
            assert f"`{variable}`" in README, variable


def test_every_status_exit_code_and_command_is_in_the_readme() -> None:
    for status in Status:
        assert f"`{status.value}`" in README, status
    for code in ExitCode:
        assert f"| {code.value} |" in README, code
    for command in ("run", "load", "resume", "list", "show", "report", "compare", "cleanup", "graph", "sandbox", "doctor"):
        assert f"`orchestrator {command}" in README, command


def test_every_state_is_in_the_picture() -> None:
    picture = (ROOT / "docs" / "token-fulfillment.svg").read_text()
    for state in WORKFLOW.states:
        assert state.name in picture


def test_every_error_is_in_the_tree_of_its_module() -> None:
    from orchestrator import errors

    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, OrchestratorError):
            assert thing.__name__ in str(errors.__doc__)


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(2))
def test_the_code_of_the_readme_runs_and_writes_no_file(number: int, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = python_blocks()[number]
    namespace: dict[str, Any] = {"__name__": "readme"}
    exec(compile(code, f"README block {number}", "exec"), namespace)
    asyncio.run(namespace["main"]())
    assert "completed" in capsys.readouterr().out
    assert list(home.iterdir()) == []  # its store is in memory, and so is the key


async def test_what_is_in_memory_is_opened_again_by_the_key_of_its_store(home: Path) -> None:
    ledger = Ledger()
    async with open_store("memory:") as store:
        async with start(toy(ledger), store=store) as run:
            await run.wait()
        assert ledger.existing
        async with cleanup(toy(ledger), run.id, store=store) as cleaning:
            await cleaning.wait()
    assert not ledger.existing
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_code_of_the_readme_type_checks(checker: str, tmp_path: Path) -> None:
    for number, code in enumerate(python_blocks()):
        (tmp_path / f"block{number}.py").write_text(f"# pyright: strict\n{code}")
    options = {
        "mypy": ["--strict", "--config-file", os.devnull, "--cache-dir", str(tmp_path / "cache")],
        "pyright": ["--pythonpath", sys.executable],
    }
    command = [sys.executable, "-m", checker, *options[checker], *map(str, tmp_path.glob("block*.py"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_packages_say_that_they_are_typed() -> None:
    for package in ("orchestrator", "states"):
        assert (ROOT / package / "py.typed").exists()
