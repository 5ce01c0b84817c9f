"""Opening the file of a store: its mode, its connections, its schema."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from orchestrator.errors import StoreError
from orchestrator.storage.sqlite import batch
from orchestrator.storage.sqlite.problems import BUSY_TIMEOUT_S
from orchestrator.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS

CHECKPOINT_PAGES = 4000
"""16 MB of write-ahead log, after which its pages are copied to the database: an instance rewrites its page at each step, so a
longer log saves copies, with the lock held. Much longer than the processor's cache, it would cost more than it saves."""


def make_private_file(path: Path) -> None:
    """Create the file, and its folder, for this user only; an existing file stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        # SQLite gives the -wal and -shm files the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass


def connect(path: Path) -> sqlite3.Connection:
    # Autocommit: transactions are begun explicitly.
    db = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=batch.CACHED_STATEMENTS,
    )
    try:
        db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


def connections(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Open a connection that writes and one that reads, after bringing the schema up to date."""
    writer = connect(path)
    try:
        _prepare(writer, path)
        batch.prepare(writer)
        # The time to wait differs between transactions: see `Database.commit`.
        writer.execute("PRAGMA busy_timeout = 0")
        writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        reader = connect(path)
        # A read creates a missing -wal file, which stays as long as a connection is open.
        reader.execute("SELECT 1 FROM runs LIMIT 1").fetchall()
    except BaseException:
        writer.close()
        raise
    return writer, reader


def identities(path: Path) -> list[tuple[int, int] | None]:
    """Device and inode of the database and of its write-ahead log; ``None``: the file is missing."""
    found: list[tuple[int, int] | None] = []
    for name in (str(path), f"{path}-wal"):
        try:
            status = os.stat(name)
        except (FileNotFoundError, NotADirectoryError):
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return found


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    # In one transaction: another process may be creating the file at the same time.
    db.execute("BEGIN")
    empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    application_id = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute("COMMIT")
    if application_id != APPLICATION_ID and not (empty and application_id == 0 and version == 0):
        raise StoreError(f"{path} is a database, but not a store of this program; name another file")
    if not 0 <= version <= len(MIGRATIONS):
        raise StoreError(
            f"the store {path} has schema version {version}, and this program knows versions up to {len(MIGRATIONS)}; "
            "use the newer program that made it, or name another file"
        )
    if empty:
        # Only an empty file takes it. Without it, the space of deleted runs is given back by VACUUM alone, which locks out
        # every other process while it copies the whole file.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    if version == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    # Read again under the lock: another process may have migrated in between.
    done = db.execute("PRAGMA user_version").fetchone()[0]
    for statements in MIGRATIONS[done:]:
        for statement in filter(str.strip, statements.split(";")):
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.execute("COMMIT")
