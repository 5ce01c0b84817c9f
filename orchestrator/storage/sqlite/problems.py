"""Errors of SQLite and the file system in one line: the problem, the file, the cure."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import StoreError

BUSY_TIMEOUT_S = 5.0
"""How long to wait for another process that is writing. Our transactions take milliseconds."""


@contextmanager
def explained(path: Path, holder: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Raise them as ``StoreError``; ``holder`` names the process that may hold the lock."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_explain(path, error, holder)) from error
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror or error}; name another with --store") from error


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process is writing."""
    return (getattr(error, "sqlite_errorname", None) or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _explain(path: Path, error: sqlite3.Error, holder: Callable[[], str | None]) -> str:
    name = getattr(error, "sqlite_errorname", None) or ""
    if is_busy(error):
        return _locked(path, holder)
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
        return f"the store {path} cannot be written: the disk is full; free some space, then try again (nothing is lost)"
    if name.startswith("SQLITE_READONLY"):
        return f"the store {path} is read-only; make the file and its folder writable, or name another with --store"
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return f"{path} is not a store of this program, or it is damaged ({error}); name another with --store"
    if name.startswith("SQLITE_CANTOPEN"):
        return f"the store {path} cannot be opened ({error}); check that its folder exists and may be written"
    return f"the store {path} failed: {error} ({name or 'no code'})"


def _locked(path: Path, holder: Callable[[], str | None]) -> str:
    who = holder()
    hint = f"it is probably {who}" if who else "another program has it open"
    return f"the store {path} has been locked for {BUSY_TIMEOUT_S:g} s ({hint}); stop or continue that process, then try again"
