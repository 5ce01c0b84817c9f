"""Fixtures for the tests of load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.storage.memory import MemoryStore


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    return MemoryStore()
