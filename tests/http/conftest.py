"""Fixtures for the tests of the transport."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import pytest

from states.http import transport


@pytest.fixture(params=["straight", "session"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The two ways to send a request: directly on aiohttp's connections, and through its session."""
    name: str = request.param
    monkeypatch.setattr(transport, "TESTED", aiohttp.__version__ if name == "straight" else "another")
    return name


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the proxy for encrypted requests, and no other."""
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return lambda address: monkeypatch.setenv("HTTPS_PROXY", address)
