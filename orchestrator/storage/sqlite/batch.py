"""One statement that stores a batch of checkpoints: begun, executed and committed by SQLite without the interpreter's lock.

With a statement for each row, the thread that writes would have to take the interpreter's lock again for every row, while it
holds the lock of the file: other processes would wait for the event loop of this one. So a batch is inserted into a view; its
trigger, which belongs to the connection, writes the tables.
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
"""Both tables begin with the run and the number of the instance."""
_COLUMNS = ("shard", "epoch", *_INSTANCE, *(f"event_{name}" for name in _EVENT))
"""Columns of the view. The epoch is checked where there is one; a row without a run fills the statement up."""
WIDTH = len(_COLUMNS)


def _new(*names: str) -> str:
    return ", ".join(f"NEW.{name}" for name in names)


# One trigger: SQLite calls each trigger for each row, even if its condition is false.
_TRIGGER = f"""
    CREATE TEMP TRIGGER batch_row INSTEAD OF INSERT ON batch WHEN NEW.run_id IS NOT NULL BEGIN
        SELECT RAISE(ROLLBACK, 'stale') WHERE NEW.epoch IS NOT NULL
            AND (SELECT epoch FROM shards WHERE run_id = NEW.run_id AND shard = NEW.shard) IS NOT NEW.epoch;
        INSERT INTO instances ({", ".join(_INSTANCE)}) VALUES ({_new(*_INSTANCE)})
            ON CONFLICT (run_id, number) DO UPDATE SET status = excluded.status, position = excluded.position,
            updated_at = excluded.updated_at, not_before = excluded.not_before, effects = excluded.effects, body = excluded.body;
        INSERT INTO events ({", ".join(rows.EVENT)})
            SELECT {_new("run_id", "number", *(f"event_{name}" for name in _EVENT))} WHERE NEW.event_seq IS NOT NULL;
    END
"""
_FURTHER_EVENT = f"INSERT INTO events ({', '.join(rows.EVENT)}) VALUES ({', '.join('?' * len(rows.EVENT))})"
_EVIDENCE = "INSERT INTO evidence (run_id, number, at, body) VALUES (?, ?, ?, ?)"
_OUTDATED_EVENT = "DELETE FROM events WHERE run_id = ? AND number = ? AND seq = ?"

_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Rows of a statement: few sizes, so that all stay prepared."""
CACHED_STATEMENTS = 128 + len(_SIZES)


def prepare(db: sqlite3.Connection) -> None:
    """Create the view and its trigger, for this connection only."""
    # The rows of a statement are collected first: in memory, because bodies must not reach a temporary file.
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute(f"CREATE TEMP VIEW batch AS SELECT {', '.join(f'NULL AS {name}' for name in _COLUMNS)}")
    db.execute(_TRIGGER)


def store(db: sqlite3.Connection, saves: Sequence[Save]) -> None:
    """Store all of them, or none; outside a transaction, commit them. An error ends the transaction that it is called in.

    Raises:
        StaleEpochError: Another process has claimed a shard.
        sqlite3.Error: The store cannot be written, or a value cannot be stored.
    """
    most = most_rows(db)
    more = list(_more(saves))
    begins = (len(saves) > most or more) and not db.in_transaction
    try:
        if begins:
            db.execute("BEGIN IMMEDIATE")
        for start in range(0, len(saves), most):
            _insert(db, saves[start : start + most])
        for statement, row in more:
            db.execute(statement, row)
        if begins:
            db.execute("COMMIT")
    except BaseException as error:
        # Otherwise the next batch would join the open transaction, and never be committed.
        if db.in_transaction:
            db.execute("ROLLBACK")
        if getattr(error, "sqlite_errorname", None) == "SQLITE_CONSTRAINT_TRIGGER":
            raise StaleEpochError(saves[0].shard.run_id, saves[0].shard.epoch) from error
        raise


def most_rows(db: sqlite3.Connection) -> int:
    """Rows of the largest statement."""
    allowed = db.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // WIDTH
    return max(size for size in _SIZES if size <= allowed)


def _insert(db: sqlite3.Connection, saves: Sequence[Save]) -> None:
    size = next(size for size in _SIZES if size >= len(saves))
    values: list[Any] = []
    checked: set[tuple[str, int, int]] = set()
    for save in saves:
        shard, events = save.shard, save.events
        key = (shard.run_id, shard.index, shard.epoch)
        if key in checked:
            values += _NO_CHECK
        else:
            checked.add(key)
            values += key[1:]
        values += rows.checkpoint_row(save.checkpoint)
        values += rows.event_row(events[0])[2:] if events else _NO_EVENT
    values += [None] * (WIDTH * size - len(values))
    db.execute(_statement(size), values)


_NO_CHECK = (None, None)
_NO_EVENT = (None,) * len(_EVENT)


def _more(saves: Sequence[Save]) -> Iterator[tuple[str, rows.Row]]:
    """Statements and rows for the few saves that have more than a checkpoint and an event."""
    for save in saves:
        row, events = save.checkpoint, save.events
        for event in events[1:]:
            yield _FURTHER_EVENT, rows.event_row(event)
        if row.evidence:
            yield _EVIDENCE, (row.run_id, row.number, row.updated_at, row.evidence)
        for event in events:
            outdated = outdated_event(event.seq or 0)
            if outdated is not None:
                yield _OUTDATED_EVENT, (row.run_id, row.number, outdated)


_statements: dict[int, str] = {}


def _statement(size: int) -> str:
    if size not in _statements:
        places = f"({', '.join('?' * WIDTH)})"
        # OR ROLLBACK: the policy of the trigger, too. Otherwise SQLite would copy each page that the statement changes.
        _statements[size] = f"INSERT OR ROLLBACK INTO batch ({', '.join(_COLUMNS)}) VALUES {', '.join([places] * size)}"
    return _statements[size]
