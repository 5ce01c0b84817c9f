"""Writing checkpoints with their events."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from orchestrator.errors import StaleEpochError, StoreError
from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage.base import WallClock
from orchestrator.storage.commits import Errors
from orchestrator.storage.records import Save, Shard
from orchestrator.storage.sqlite import batch, runs

_UNSTORABLE = (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError, UnicodeError)


def write(db: sqlite3.Connection, saves: Sequence[Save]) -> Errors:
    """Commit a batch. A save that is stale or cannot be stored does not affect the others."""
    try:
        batch.store(db, saves)
    except (StaleEpochError, *_UNSTORABLE):
        return [_write_one(db, save) for save in saves]
    return [None] * len(saves)


def write_all(db: sqlite3.Connection, shard: Shard, saves: Sequence[Save], status: RunStatus, clock: WallClock) -> None:
    """Write all of them and the status of the run in the open transaction, or raise the first error."""
    runs.set_status(db, shard, status, clock.now())
    batch.store(db, saves)


def _write_one(db: sqlite3.Connection, save: Save) -> Exception | None:
    try:
        batch.store(db, [save])
    except StaleEpochError as error:
        return error
    except _UNSTORABLE as error:
        return StoreError(f"instance {save.checkpoint.run_id}-{save.checkpoint.number} cannot be stored: {error}")
    return None
