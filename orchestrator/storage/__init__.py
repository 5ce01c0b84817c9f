"""Stores: the databases of runs and checkpoints, opened by URL.

A URL names a store: ``memory:``, ``sqlite:PATH`` or the plain path of an SQLite file, or ``postgresql://…`` with the parameters of
libpq, e.g. ``postgresql:///?service=orchestrator``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import attrs

from orchestrator.errors import SettingError, StoreError, shortened
from orchestrator.settings import STORE_TIMEOUT_S
from orchestrator.storage.base import Store, WallClock
from orchestrator.storage.sqlite.store import SQLiteStore
from orchestrator.storage.url import without_password


@attrs.frozen(kw_only=True)
class Opening:
    """How a store is opened; see :func:`open_store`."""

    create: bool = True
    clock: WallClock | None = None
    timeout_s: float = STORE_TIMEOUT_S


@attrs.frozen(kw_only=True)
class Scheme:
    """A kind of store. Its functions get the whole URL, and the part behind the colon."""

    open: Callable[[str, str, Opening], Awaitable[Store]]
    exists: Callable[[str, str], Awaitable[bool]]
    lasts: bool
    """Whether another process finds the data."""


async def _open_memory(url: str, rest: str, how: Opening) -> Store:
    from orchestrator.storage.memory import MemoryStore  # noqa: PLC0415  # no command needs it

    return MemoryStore(how.clock)


async def _memory_exists(url: str, rest: str) -> bool:
    return True


async def _open_sqlite(url: str, rest: str, how: Opening) -> Store:
    path = _path(rest)
    if path.is_dir():
        raise SettingError("store", f"{path} is a folder: name a file in it, e.g. {path / 'runs.db'}")
    return await SQLiteStore.open(path, create=how.create, clock=how.clock)


async def _sqlite_exists(url: str, rest: str) -> bool:
    path = _path(rest)
    try:
        return path.exists()
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror}") from error


async def _open_postgresql(url: str, rest: str, how: Opening) -> Store:
    _need_asyncpg()
    from orchestrator.storage.postgresql.store import PostgreSQLStore  # noqa: PLC0415  # needs an extra

    return await PostgreSQLStore.open(url, create=how.create, clock=how.clock, timeout_s=how.timeout_s)


async def _postgresql_exists(url: str, rest: str) -> bool:
    _need_asyncpg()
    from orchestrator.storage.postgresql.store import PostgreSQLStore  # noqa: PLC0415  # needs an extra

    return await PostgreSQLStore.exists(url)


def _need_asyncpg() -> None:
    if find_spec("asyncpg") is None:
        raise SettingError(
            "store",
            "PostgreSQL needs the extra: pip install 'token-fulfillment-orchestrator[postgresql]', or name an SQLite file",
        )


SCHEMES: Mapping[str, Scheme] = {
    "memory": Scheme(open=_open_memory, exists=_memory_exists, lasts=False),
    "sqlite": Scheme(open=_open_sqlite, exists=_sqlite_exists, lasts=True),
    "postgresql": Scheme(open=_open_postgresql, exists=_postgresql_exists, lasts=True),
    "postgres": Scheme(open=_open_postgresql, exists=_postgresql_exists, lasts=True),
}


@asynccontextmanager
async def open_store(
    url: str, *, create: bool = True, clock: WallClock | None = None, timeout_s: float = STORE_TIMEOUT_S
) -> AsyncIterator[Store]:
    """Open the store behind a URL.

    Args:
        create: Make the file, or the schema in the database, if it does not exist; ``False`` raises ``StoreError`` instead.
        clock: Measures leases; ``None``: the machine's clock, or that of the database.
        timeout_s: How long an open database that does not answer is awaited before a method raises ``StoreError``.

    Raises:
        SettingError: The URL has an unknown scheme, names a folder, or needs an extra that is not installed.
        StoreError: The file or the schema is not a store of this program, has an unknown version, or cannot be read.
    """
    scheme, rest = _parsed(url)
    store = await scheme.open(url, rest, Opening(create=create, clock=clock, timeout_s=timeout_s))
    store.url, store.timeout_s = url if scheme.lasts else None, timeout_s
    try:
        yield store
    finally:
        await store.close()


async def store_exists(url: str) -> bool:
    """Whether there is a store to open; a store in memory always exists. Raises ``SettingError`` and ``StoreError``."""
    scheme, rest = _parsed(url)
    return await scheme.exists(url, rest)


def is_lasting(url: str) -> bool:
    """Whether another process finds the data of this store. Raises ``SettingError``."""
    return _parsed(url)[0].lasts


def _parsed(url: str) -> tuple[Scheme, str]:
    """The scheme of a URL, and the rest; a plain path is one of SQLite."""
    name, colon, rest = url.partition(":")
    if not colon:
        name, rest = "sqlite", url
    if name not in SCHEMES or (name == "memory" and rest):
        shown = shortened(without_password(url))
        raise SettingError("store", f"{shown} is neither a path, nor sqlite:PATH, nor memory:, nor postgresql://HOST/DATABASE")
    if name == "sqlite" and not rest.strip():
        raise SettingError("store", f"{url!r} names no file: give a path, sqlite:PATH or memory:")
    return SCHEMES[name], rest


def _path(rest: str) -> Path:
    try:
        return Path(rest).expanduser()
    except RuntimeError as error:  # `~name` of a user that this machine does not know
        raise SettingError("store", f"{rest!r}: {error}") from error
