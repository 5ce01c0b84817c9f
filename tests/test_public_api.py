"""The exported names, and that the documentation is true."""

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
from orchestrator.cli import SUMMARIES
from orchestrator.cli.run_settings import LoadSettings, RunSettings
from orchestrator.cli.settings import EngineSettings
from orchestrator.report.exit_codes import ExitCode
from orchestrator.settings import settings_of
from states.token_fulfillment import WORKFLOW, TokenFulfillmentSettings
from tests.support.toy import Ledger, toy

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


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
def test_every_setting_is_in_the_reference(cls: type[Any]) -> None:
    page = (DOCS / "reference" / "settings.md").read_text()
    for s in settings_of(cls):
        assert f"`{s.flag}`" in page, s.flag
        for variable in s.env:
            assert f"`{variable}`" in page, variable


def test_every_status_exit_code_command_and_name_is_in_the_documentation() -> None:
    operate, reference = (DOCS / "how-to" / "operate.md").read_text(), DOCS / "reference"
    for status in Status:
        assert f"`{status.value}`" in operate, status
    for code in ExitCode:
        assert f"| {code.value} |" in (reference / "exit-codes.md").read_text(), code
    for command in (*SUMMARIES, "sandbox"):
        assert f"## orchestrator {command}\n" in (reference / "commands.md").read_text(), command
    for name in orchestrator.__all__:
        assert f"### {name}\n" in (reference / "api.md").read_text(), name


def test_every_state_is_in_the_picture() -> None:
    picture = (ROOT / "docs" / "token-fulfillment.svg").read_text()
    for state in WORKFLOW.states:
        assert state.name in picture


def test_every_error_is_in_the_tree_of_its_module() -> None:
    from orchestrator import errors

    for thing in vars(errors).values():
        if isinstance(thing, type) and issubclass(thing, OrchestratorError):
            assert thing.__name__ in str(errors.__doc__)


def code_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


PROGRAMS = {
    "README": lambda: code_of("README.md")[0],
    "tutorial": lambda: "".join(code_of("docs/tutorial/first-workflow.md")),
    "embedding": lambda: code_of("docs/how-to/embed.md")[0],
}


@pytest.mark.parametrize("page", list(PROGRAMS))
def test_the_code_of_the_documentation_runs_and_writes_no_file(page: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {"__name__": page}
    exec(compile(PROGRAMS[page](), page, "exec"), namespace)
    asyncio.run(namespace["main"]())
    out = capsys.readouterr().out
    assert "completed" in out
    assert page != "tutorial" or "parcel-0" in out
    assert list(home.iterdir()) == []  # its store is in memory, and so is the key


def test_the_code_for_web_frameworks_uses_names_that_exist() -> None:
    for code in code_of("docs/how-to/embed.md")[1:]:
        imports = [
            node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom) and node.module == "orchestrator"
        ]
        assert imports
        for name in (alias.name for node in imports for alias in node.names):
            assert name in orchestrator.__all__


async def test_a_run_in_memory_is_opened_again_by_the_key_of_its_store(home: Path) -> None:
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
def test_the_code_of_the_documentation_type_checks(checker: str, tmp_path: Path) -> None:
    for name, code in PROGRAMS.items():
        (tmp_path / f"block_{name}.py").write_text(f"# pyright: strict\n{code()}")
    (aiohttp,) = [code for code in code_of("docs/how-to/embed.md") if "from aiohttp import web" in code]
    (tmp_path / "block_aiohttp.py").write_text(f"# pyright: strict\n{aiohttp}")
    options = {
        "mypy": ["--strict", "--config-file", os.devnull, "--cache-dir", str(tmp_path / "cache")],
        "pyright": ["--pythonpath", sys.executable],
    }
    command = [sys.executable, "-m", checker, *options[checker], *map(str, tmp_path.glob("block_*.py"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_packages_say_that_they_are_typed() -> None:
    for package in ("orchestrator", "states"):
        assert (ROOT / package / "py.typed").exists()
