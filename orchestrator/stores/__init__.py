"""Stores: where runs and checkpoints live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.errors import SettingError
from orchestrator.stores.base import Store
from orchestrator.stores.memory import MemoryStore
from orchestrator.stores.sqlite import SQLiteStore


@asynccontextmanager
async def open_store(url: str, *, create: bool = True) -> AsyncIterator[Store]:
    """The store behind ``memory:``, ``sqlite:PATH`` or a plain path of an SQLite file.

    Args:
        create: Make the file if it is not there; ``False`` raises ``StoreError`` instead.

    Raises:
        SettingError: No store goes by this scheme.
        StoreError: The file is not a store of ours, of an unknown version, unreadable …
    """
    scheme, colon, rest = url.partition(":")
    store: Store
    if not colon or scheme == "sqlite":
        store = await SQLiteStore.open(rest if colon else url, create=create)
    elif scheme == "memory":
        store = MemoryStore()
    else:
        raise SettingError("store", f"{url!r} is neither a path, nor sqlite:PATH, nor memory:")
    try:
        yield store
    finally:
        await store.close()
