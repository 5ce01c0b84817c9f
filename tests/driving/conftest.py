"""Fixtures for the tests of the driver."""

from __future__ import annotations

import pytest

from orchestrator.storage.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()
