"""One statement that stores a batch of checkpoints: begun, executed and committed by SQLite without the interpreter's lock.

With a statement for each row, the thread that writes would have to take the interpreter's lock again for every row, while it
holds the lock of the file: other processes would wait for the event loop of this one. So a batch is inserted into a view; its
triggers, which belong to the connection, write the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.errors import StaleEpochError
from orchestrator.storage import rows
from orchestrator.storage.records import Save
from orchestrator.storage.rules import outdated_event

_INSTANCE, _EVENT = rows.CHECKPOINT, rows.EVENT[2:]
"""Columns of the view, after ``kind``. Both tables begin with the run and the number of the instance."""
_COLUMNS = ("kind", *_INSTANCE, *(f"event_{name}" for name in _EVENT))
WIDTH = len(_COLUMNS)

_FENCE, _SAVE, _HISTORY, _EVIDENCE, _OUTDATED = range(5)
"""Kinds of rows. A row whose kind is NULL fills the statement up and is ignored."""


def _new(*names: str) -> str:
    return ", ".join(f"NEW.{name}" for name in names)


_SAVE_EVENT = (
    f"INSERT INTO events ({', '.join(rows.EVENT)}) SELECT {_new('run_id', 'number', *(f'event_{name}' for name in _EVENT))} "
    "WHERE NEW.event_seq IS NOT NULL"
)
_TRIGGERS = {
    _FENCE: (
        "SELECT RAISE(ROLLBACK, 'stale') "
        "WHERE (SELECT epoch FROM shards WHERE run_id = NEW.run_id AND shard = NEW.number) IS NOT NEW.event_seq"
    ),
    _SAVE: (
        f"INSERT INTO instances ({', '.join(_INSTANCE)}) VALUES ({_new(*_INSTANCE)}) "
        "ON CONFLICT (run_id, number) DO UPDATE SET status = excluded.status, position = excluded.position, "
        "updated_at = excluded.updated_at, not_before = excluded.not_before, effects = excluded.effects, body = excluded.body; "
        f"{_SAVE_EVENT}"
    ),
    _HISTORY: _SAVE_EVENT,
    _EVIDENCE: f"INSERT INTO evidence (run_id, number, at, body) VALUES ({_new('run_id', 'number', 'updated_at', 'body')})",
    _OUTDATED: "DELETE FROM events WHERE run_id = NEW.run_id AND number = NEW.number AND seq = NEW.event_seq",
}

_SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Rows of a statement: few sizes, so that all stay prepared."""
CACHED_STATEMENTS = 128 + len(_SIZES)


def prepare(db: sqlite3.Connection) -> None:
    """Create the view and its triggers, for this connection only."""
    # The rows of a statement are collected first: in memory, because bodies must not reach a temporary file.
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute(f"CREATE TEMP VIEW batch AS SELECT {', '.join(f'NULL AS {name}' for name in _COLUMNS)}")
    for kind, statements in _TRIGGERS.items():
        db.execute(f"CREATE TEMP TRIGGER batch_{kind} INSTEAD OF INSERT ON batch WHEN NEW.kind = {kind} BEGIN {statements}; END")


def store(db: sqlite3.Connection, saves: Sequence[Save]) -> None:
    """Store all of them, or none; outside a transaction, commit them. An error ends the transaction that it is called in.

    Raises:
        StaleEpochError: Another process has claimed a shard.
        sqlite3.Error: The store cannot be written, or a value cannot be stored.
    """
    found = [*_fences(saves), *(row for save in saves for row in _rows(save))]
    most = most_rows(db)
    begins = len(found) > most and not db.in_transaction
    if begins:
        db.execute("BEGIN IMMEDIATE")
    try:
        for start in range(0, len(found), most):
            _insert(db, found[start : start + most])
    except sqlite3.IntegrityError as error:
        if error.sqlite_errorname != "SQLITE_CONSTRAINT_TRIGGER":
            raise
        raise StaleEpochError(saves[0].shard.run_id, saves[0].shard.epoch) from error
    if begins:
        db.execute("COMMIT")


def _insert(db: sqlite3.Connection, found: Sequence[rows.Row]) -> None:
    size = next(size for size in _SIZES if size >= len(found))
    values: list[Any] = []
    for row in found:
        values += row
        values += [None] * (WIDTH - len(row))
    values += [None] * (WIDTH * (size - len(found)))
    db.execute(_statement(size), values)


_statements: dict[int, str] = {}


def _statement(size: int) -> str:
    if size not in _statements:
        places = f"({', '.join('?' * WIDTH)})"
        # OR ROLLBACK: the policy of the triggers, too. Otherwise SQLite would copy each page that the statement changes.
        _statements[size] = f"INSERT OR ROLLBACK INTO batch ({', '.join(_COLUMNS)}) VALUES {', '.join([places] * size)}"
    return _statements[size]


def most_rows(db: sqlite3.Connection) -> int:
    """Rows of the largest statement."""
    allowed = db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // WIDTH
    return max(size for size in _SIZES if size <= allowed)


_NO_CHECKPOINT = (None,) * (len(_INSTANCE) - 2)


def _fences(saves: Sequence[Save]) -> Iterator[rows.Row]:
    """They come first. A row each for the shards of a batch, which are few."""
    for run_id, index, epoch in {(save.shard.run_id, save.shard.index, save.shard.epoch) for save in saves}:
        yield (_FENCE, run_id, index, *_NO_CHECKPOINT, epoch)


def _rows(save: Save) -> Iterator[rows.Row]:
    checkpoint, events = save.checkpoint, save.events
    run_id, number = checkpoint.run_id, checkpoint.number
    first = rows.event_row(events[0])[2:] if events else ()
    yield (_SAVE, *rows.checkpoint_row(checkpoint), *first)
    for event in events[1:]:
        yield (_HISTORY, run_id, number, *_NO_CHECKPOINT, *rows.event_row(event)[2:])
    if checkpoint.evidence:
        yield (_EVIDENCE, run_id, number, None, None, checkpoint.updated_at, None, None, checkpoint.evidence)
    for event in events:
        outdated = outdated_event(event.seq or 0)
        if outdated is not None:
            yield (_OUTDATED, run_id, number, *_NO_CHECKPOINT, outdated)
