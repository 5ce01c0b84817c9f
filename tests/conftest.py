"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator import Vault


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the campaigns of tests/crash run longer than the suite has time for."""
    parser.addoption("--lives", type=int, default=2, help="Seeds that each campaign in tests/crash plays.")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of the test's own, and no settings of the user's."""
    for name in [name for name in os.environ if name.startswith(("PINGONE_", "ORCHESTRATOR_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def vault() -> Vault:
    """A key that is the same in all tests."""
    return Vault(bytes(range(32)), "the test")
