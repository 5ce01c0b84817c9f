"""The stores that the contract is tested with: a further one is one more parameter."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.stores import Place

URLS: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "memory": lambda request: "memory:",
    "sqlite": lambda request: f"sqlite:{request.getfixturevalue('tmp_path') / 's.db'}",
    "postgresql": lambda request: str(request.getfixturevalue("postgresql_url")),
}


@pytest.fixture(params=URLS)
def place(request: pytest.FixtureRequest) -> Place:
    """An empty place for a store of each kind."""
    return Place(URLS[request.param](request))


@pytest.fixture(params=[kind for kind in URLS if kind != "memory"])
def lasting(request: pytest.FixtureRequest) -> Place:
    """An empty place for a store of each kind that outlives its process."""
    return Place(URLS[request.param](request))
