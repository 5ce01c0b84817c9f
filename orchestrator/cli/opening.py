"""Opens the store of the settings."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from orchestrator.cli.settings import EngineSettings
from orchestrator.storage import open_store
from orchestrator.storage.base import Store


def opened_store(engine: EngineSettings, *, create: bool = True) -> AbstractAsyncContextManager[Store]:
    """The store; see :func:`~orchestrator.storage.open_store`."""
    return open_store(engine.url, create=create, timeout_s=engine.store_timeout)
