"""Stores: where runs and checkpoints live. A URL names a store: ``memory:``, ``sqlite:PATH``, or the plain path of an SQLite file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from orchestrator.errors import SettingError, StoreError, shortened
from orchestrator.storage.base import Store, WallClock
from orchestrator.storage.memory import MemoryStore
from orchestrator.storage.sqlite.store import SQLiteStore


@attrs.frozen(kw_only=True)
class Scheme:
    """A kind of store. Its functions get the part of the URL behind the colon."""

    open: Callable[[str, bool, WallClock | None], Awaitable[Store]]
    exists: Callable[[str], bool]
    lasts: bool
    """Whether another process finds the data."""


async def _open_memory(rest: str, create: bool, clock: WallClock | None) -> Store:
    return MemoryStore(clock)


async def _open_sqlite(rest: str, create: bool, clock: WallClock | None) -> Store:
    path = _path(rest)
    if path.is_dir():
        raise SettingError("store", f"{path} is a folder: name a file in it, e.g. {path / 'runs.db'}")
    return await SQLiteStore.open(path, create=create, clock=clock)


def _sqlite_exists(rest: str) -> bool:
    path = _path(rest)
    try:
        return path.exists()
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror}") from error


SCHEMES: Mapping[str, Scheme] = {
    "memory": Scheme(open=_open_memory, exists=lambda rest: True, lasts=False),
    "sqlite": Scheme(open=_open_sqlite, exists=_sqlite_exists, lasts=True),
}


@asynccontextmanager
async def open_store(url: str, *, create: bool = True, clock: WallClock | None = None) -> AsyncIterator[Store]:
    """Open the store behind a URL.

    Args:
        create: Make the file if it does not exist; ``False`` raises ``StoreError`` instead.
        clock: Measures leases; ``None``: the machine's clock.

    Raises:
        SettingError: The URL has an unknown scheme, or names a folder.
        StoreError: The file is not a store of this program, has an unknown version, or cannot be read.
    """
    scheme, rest = _parsed(url)
    store = await scheme.open(rest, create, clock)
    try:
        yield store
    finally:
        await store.close()


def store_exists(url: str) -> bool:
    """Whether there is a store to open; a store in memory always exists. Raises ``SettingError``."""
    scheme, rest = _parsed(url)
    return scheme.exists(rest)


def is_lasting(url: str) -> bool:
    """Whether another process finds the data of this store. Raises ``SettingError``."""
    return _parsed(url)[0].lasts


def _parsed(url: str) -> tuple[Scheme, str]:
    """The scheme of a URL, and the rest; a plain path is one of SQLite."""
    name, colon, rest = url.partition(":")
    if not colon:
        name, rest = "sqlite", url
    if name not in SCHEMES or (name == "memory" and rest):
        raise SettingError("store", f"{shortened(url)} is neither a path, nor sqlite:PATH, nor memory:")
    if name == "sqlite" and not rest.strip():
        raise SettingError("store", f"{url!r} names no file: give a path, sqlite:PATH or memory:")
    return SCHEMES[name], rest


def _path(rest: str) -> Path:
    try:
        return Path(rest).expanduser()
    except RuntimeError as error:  # `~name` of a user that this machine does not know
        raise SettingError("store", f"{rest!r}: {error}") from error
