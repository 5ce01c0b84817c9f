"""Stores: where runs and checkpoints live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.errors import SettingError, StoreError, shortened
from orchestrator.storage.base import Store, WallClock
from orchestrator.storage.memory import MemoryStore
from orchestrator.storage.sqlite import SQLiteStore


@asynccontextmanager
async def open_store(url: str, *, create: bool = True, clock: WallClock | None = None) -> AsyncIterator[Store]:
    """The store behind ``memory:``, ``sqlite:PATH`` or a plain path of an SQLite file.

    Args:
        create: Make the file if it is not there; ``False`` raises ``StoreError`` instead.
        clock: What leases are measured with; ``None``: the machine's clock.

    Raises:
        SettingError: No store goes by this scheme, or the path is a folder.
        StoreError: The file is not a store of ours, of an unknown version, unreadable …
    """
    path = _path(url)
    if path is not None and path.is_dir():
        raise SettingError("store", f"{path} is a folder: name a file in it, e.g. {path / 'runs.db'}")
    store: Store = MemoryStore(clock) if path is None else await SQLiteStore.open(path, create=create, clock=clock)
    try:
        yield store
    finally:
        await store.close()


def store_exists(url: str) -> bool:
    """Whether there is something to open; a store in memory is there, and empty. Raises ``SettingError``."""
    path = _path(url)
    try:
        return path is None or path.exists()
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror}") from error


def is_lasting(url: str) -> bool:
    """Whether another process finds what is stored there. Raises ``SettingError``."""
    return _path(url) is not None


def _path(url: str) -> Path | None:
    """Of the SQLite file; ``None``: in memory."""
    scheme, colon, rest = url.partition(":")
    if not url.strip() or url.strip() == "sqlite:":
        raise SettingError("store", f"{url!r} names no file: give a path, sqlite:PATH or memory:")
    if not colon or scheme == "sqlite":
        try:
            return Path(rest if colon else url).expanduser()
        except RuntimeError as error:  # ~somebody who is not known here
            raise SettingError("store", f"{url!r}: {error}") from error
    if scheme == "memory" and not rest:
        return None
    raise SettingError("store", f"{shortened(url)} is neither a path, nor sqlite:PATH, nor memory:")
