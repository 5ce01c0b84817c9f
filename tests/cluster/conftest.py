"""Fixtures for tests of runs on several processes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator import Store, open_store
from tests.support.pool import LEDGER


@pytest.fixture
async def store(home: Path) -> AsyncIterator[Store]:
    """A file, and an external system without history."""
    LEDGER.existing.clear()
    LEDGER.calls.clear()
    LEDGER.script.clear()
    async with open_store(f"sqlite:{home / 'runs.db'}") as opened:
        yield opened
