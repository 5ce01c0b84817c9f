"""Queries for the rows that are the input of instances.

Rows are added under a key before their run is stored. The table ``inputs`` says to which run a key belongs: to none before the run
is stored, and to none again when it has been deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from sqlite3 import Connection

from orchestrator.storage.lease import Owner, is_gone
from orchestrator.storage.records import STAGING_LIMIT_S

ROWS_AT_ONCE = 5000
"""Rows that one transaction deletes."""


def add(db: Connection, key: str, rows: Mapping[int, bytes], owner: Owner, now: float) -> None:
    db.execute("INSERT OR IGNORE INTO inputs (key, owner, added_at) VALUES (?, ?, ?)", (key, owner.dumps(), now))
    db.executemany("INSERT INTO input_rows (key, number, body) VALUES (?, ?, ?)", [(key, *row) for row in rows.items()])


def assign(db: Connection, key: str, run_id: str) -> bool:
    """Make them the rows of a run; ``False``: they are not there."""
    return (
        db.execute("UPDATE inputs SET run_id = ? WHERE key = ? AND run_id IS NULL AND owner IS NOT NULL", (run_id, key)).rowcount
        == 1
    )


def abandon(db: Connection, key: str) -> None:
    """Rows whose run was not stored: :func:`sweep` deletes them."""
    db.execute("UPDATE inputs SET owner = NULL WHERE key = ? AND run_id IS NULL", (key,))


def abandon_of(db: Connection, run_id: str) -> None:
    """The rows of a run that is being deleted."""
    db.execute("UPDATE inputs SET run_id = NULL, owner = NULL WHERE run_id = ?", (run_id,))


def get(db: Connection, key: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    sql = "SELECT number, body FROM input_rows WHERE key = ? AND number > ? ORDER BY number LIMIT ?"
    return db.execute(sql, (key, after, limit)).fetchall()


def sweep(db: Connection, now: float) -> bool:
    """Delete some of the rows that no run needs; ``False``: there are none."""
    for key, owner, added_at in db.execute("SELECT key, owner, added_at FROM inputs WHERE run_id IS NULL").fetchall():
        if owner is not None and added_at > now - STAGING_LIMIT_S and not is_gone(Owner.loads(owner)):
            continue
        # First of all, so that a run can no longer get rows of which a part is gone.
        db.execute("UPDATE inputs SET owner = NULL WHERE key = ?", (key,))
        some = "SELECT number FROM input_rows WHERE key = ? ORDER BY number LIMIT ?"
        sql = f"DELETE FROM input_rows WHERE key = ? AND number <= (SELECT max(number) FROM ({some}))"
        if db.execute(sql, (key, key, ROWS_AT_ONCE)).rowcount < ROWS_AT_ONCE:
            db.execute("DELETE FROM inputs WHERE key = ?", (key,))
        return True
    return False
