"""Fixtures for tests that kill processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgresql import Server, UnavailableError


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A database server that the tests of a module may kill."""
    # A short path: that of a socket has at most 107 characters.
    base = Path(tempfile.mkdtemp(prefix="orchestrator-postgresql-"))
    base.chmod(0o711)
    try:
        made = Server.create(base / "data")
        made.start()
    except UnavailableError as error:
        shutil.rmtree(base)
        pytest.skip(str(error))
    yield made
    made.stop()
    shutil.rmtree(base)


@pytest.fixture
def server(own_server: Server) -> Server:
    """The same server, which runs."""
    if not own_server.is_running:
        own_server.start()
    return own_server
