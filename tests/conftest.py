"""Fixtures for all tests."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from orchestrator import Vault
from tests.support.certificates import self_signed
from tests.support.postgresql import UnavailableError, drop, is_named, new_schema, shared_url

# How fast examples are made and checked says nothing on a busy machine.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options to run the campaigns of tests/crash longer than in the suite."""
    parser.addoption("--lives", type=int, default=2, help="Seeds that each campaign in tests/crash/test_campaign.py plays.")
    parser.addoption("--runs", type=int, default=0, help="Seeds that each campaign in tests/crash/test_lives.py plays.")
    parser.addoption("--first-seed", type=int, default=0, help="The first of them.")
    parser.addoption("--hits", type=int, default=2, help="How often each of its runs is hit.")
    parser.addoption("--instances", type=int, default=40, help="Instances of each of its runs.")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory, and no settings of the user."""
    for name in [name for name in os.environ if name.startswith(("PINGONE_", "ORCHESTRATOR_", "OTEL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a PostgreSQL server, which all processes of the session share."""
    base = tmp_path_factory.getbasetemp()
    try:
        return shared_url(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a store on that server, which no other test uses."""
    schema = new_schema()
    yield f"{postgresql_server}{'&' if '?' in postgresql_server else '?'}schema={schema}"
    if is_named():
        asyncio.run(drop(postgresql_server, schema))


@pytest.fixture
def vault() -> Vault:
    """A key that is the same in all tests."""
    return Vault(bytes(range(32)), "the test")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of ``localhost``, with its key."""
    path = tmp_path / "certificate.pem"
    path.write_bytes(self_signed())
    return path


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same certificate; aiohttp trusts it during the test."""
    # aiohttp creates the context when it is imported, from SSL_CERT_FILE among others.
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", context)
    return certificate


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in this process. Returns exit code, stdout and stderr."""
    from orchestrator.cli import main

    def run(*argv: str) -> tuple[int, str, str]:
        code = main(argv)
        out, err = capfd.readouterr()
        return int(code), out, err

    return run
