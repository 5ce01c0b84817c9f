"""Stores: the durable home of runs and checkpoints."""

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
    """Open the store at ``memory:``, ``sqlite:PATH`` or a plain path of an SQLite file.

    Args:
        create: Create a missing file; ``False`` raises ``StoreError`` instead.
        clock: Measures leases; ``None``: the machine's clock.

    Raises:
        SettingError: The scheme is unknown, or the path is a folder.
        StoreError: The file is no store of this program, has an unknown version, or cannot be read.
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
    """Whether the store exists. A store in memory always exists, empty. Raises ``SettingError``."""
    path = _path(url)
    try:
        return path is None or path.exists()
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror}") from error


def is_lasting(url: str) -> bool:
    """Whether the store outlives its process. Raises ``SettingError``."""
    return _path(url) is not None


def _path(url: str) -> Path | None:
    """Path of the SQLite file; ``None``: in memory."""
    scheme, colon, rest = url.partition(":")
    if not url.strip() or url.strip() == "sqlite:":
        raise SettingError("store", f"{url!r} names no file: give a path, sqlite:PATH or memory:")
    if not colon or scheme == "sqlite":
        try:
            return Path(rest if colon else url).expanduser()
        except RuntimeError as error:  # `~name` of a user that this machine does not know
            raise SettingError("store", f"{url!r}: {error}") from error
    if scheme == "memory" and not rest:
        return None
    raise SettingError("store", f"{shortened(url)} is neither a path, nor sqlite:PATH, nor memory:")
