"""Writing checkpoints with their events: the statements of every step."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from orchestrator.errors import StaleEpochError, StoreError
from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage import rows
from orchestrator.storage.base import WallClock
from orchestrator.storage.commits import Errors
from orchestrator.storage.records import Save, Shard
from orchestrator.storage.rules import outdated_event
from orchestrator.storage.sqlite import claims, runs

_SAVE_INSTANCE = (
    f"INSERT INTO instances ({', '.join(rows.CHECKPOINT)}) VALUES ({', '.join('?' * len(rows.CHECKPOINT))}) "
    "ON CONFLICT (run_id, number) DO UPDATE SET status = excluded.status, position = excluded.position, "
    "updated_at = excluded.updated_at, not_before = excluded.not_before, effects = excluded.effects, body = excluded.body"
)
_SAVE_EVENT = f"INSERT INTO events ({', '.join(rows.EVENT)}) VALUES ({', '.join('?' * len(rows.EVENT))})"
_SAVE_EVIDENCE = "INSERT INTO evidence (run_id, number, at, body) VALUES (?, ?, ?, ?)"
_CAP_HISTORY = "DELETE FROM events WHERE run_id = ? AND number = ? AND seq = ?"
_UNSTORABLE = (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError, UnicodeError)


def write(db: sqlite3.Connection, saves: Sequence[Save]) -> Errors:
    """Write a batch in the open transaction. A save that is stale or cannot be stored does not affect the others."""
    try:
        return _put(db, saves)
    except _UNSTORABLE:
        # SQLite rejects a value of one save: the others are still stored.
        db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        return [_put_one(db, save) for save in saves]


def write_all(db: sqlite3.Connection, shard: Shard, saves: Sequence[Save], status: RunStatus, clock: WallClock) -> None:
    """Write all of them and the status of the run, or raise the first error."""
    runs.set_status(db, shard, status, clock.now())
    for error in _put(db, saves):
        if error is not None:
            raise error


def _put_one(db: sqlite3.Connection, save: Save) -> Exception | None:
    db.execute("SAVEPOINT one")
    try:
        return _put(db, [save])[0]
    except _UNSTORABLE as error:
        db.execute("ROLLBACK TO one")
        return StoreError(f"instance {save.checkpoint.run_id}-{save.checkpoint.number} cannot be stored: {error}")
    finally:
        db.execute("RELEASE one")


def _put(db: sqlite3.Connection, saves: Sequence[Save]) -> Errors:
    errors = _fenced(db, saves)
    written = [save for save, error in zip(saves, errors, strict=True) if error is None] if any(errors) else saves
    db.executemany(_SAVE_INSTANCE, [rows.checkpoint_row(save.checkpoint) for save in written])
    db.executemany(_SAVE_EVENT, [rows.event_row(event) for save in written for event in save.events])
    evidence = [(c.run_id, c.number, c.updated_at, c.evidence) for c in (save.checkpoint for save in written) if c.evidence]
    if evidence:
        db.executemany(_SAVE_EVIDENCE, evidence)
    seqs = ((event, outdated_event(event.seq or 0)) for save in written for event in save.events)
    outdated = [(event.run_id, event.number, seq) for event, seq in seqs if seq is not None]
    if outdated:
        db.executemany(_CAP_HISTORY, outdated)
    return errors


def _fenced(db: sqlite3.Connection, saves: Sequence[Save]) -> list[Exception | None]:
    """For each save an error if its epoch is outdated."""
    epochs: dict[tuple[str, int], int | None] = {}
    errors: list[Exception | None] = []
    for save in saves:
        key = (save.shard.run_id, save.shard.index)
        if key not in epochs:
            current = claims.get(db, *key)
            epochs[key] = current.epoch if current else None
        stale = epochs[key] != save.shard.epoch
        errors.append(StaleEpochError(save.shard.run_id, save.shard.epoch) if stale else None)
    return errors
