"""Queries that delete runs, and that give the space back.

A run disappears when its row does; the table ``remains`` names it until its other data is deleted. A run may have millions of
rows, and a transaction that deletes them all would make a driving process wait for longer than it can.
"""

from __future__ import annotations

from sqlite3 import Connection

from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage.lease import Owner
from orchestrator.storage.rules import drivers_of, is_staged
from orchestrator.storage.sqlite import claims, inputs
from orchestrator.storage.usage import RunUsage

INSTANCES_AT_ONCE = 200
"""Instances that one transaction deletes; each has up to 200 events."""
PAGES_AT_ONCE = 1000
"""Pages that one transaction gives back: 4 MB."""


def usage(db: Connection, run_id: str, now: float) -> RunUsage | None:
    """``None``: there is no such run."""
    run = db.execute("SELECT status FROM runs WHERE id = ?", (run_id,)).fetchone()
    if run is None:
        return None
    sql = "SELECT count(*) FROM instances WHERE run_id = ? AND (effects IS NULL OR effects <> '[]')"
    return RunUsage(
        run_id=run_id,
        status=RunStatus(run[0]),
        drivers=drivers_of(claims.all_of(db, run_id), now),
        with_effects=db.execute(sql, (run_id,)).fetchone()[0],
        reused_by=tuple(row[0] for row in db.execute("SELECT id FROM runs WHERE reuse = ? ORDER BY id", (run_id,))),
    )


def delete(db: Connection, run_id: str, now: float) -> RunUsage | None:
    found = usage(db, run_id, now)
    if found is not None and found.obstacle() is None:
        db.execute("INSERT INTO remains (run_id) VALUES (?)", (run_id,))
        db.execute("DELETE FROM shards WHERE run_id = ?", (run_id,))
        db.execute("DELETE FROM runs WHERE id = ?", (run_id,))
        inputs.abandon_of(db, run_id)
    return found


def is_reserved(db: Connection, run_id: str) -> bool:
    """Whether a copy of this run is under way."""
    return db.execute("SELECT 1 FROM imports WHERE run_id = ?", (run_id,)).fetchone() is not None


def give_up(db: Connection, run_id: str) -> None:
    """A copy that will not be finished becomes remains."""
    db.execute("DELETE FROM imports WHERE run_id = ?", (run_id,))
    db.execute("INSERT OR IGNORE INTO remains (run_id) VALUES (?)", (run_id,))


def abandon_stale(db: Connection, now: float) -> None:
    """Give up the copies whose owners will not finish them."""
    for run_id, owner, added_at in db.execute("SELECT run_id, owner, added_at FROM imports").fetchall():
        if not is_staged(Owner.loads(owner), added_at, now):
            give_up(db, run_id)


def sweep(db: Connection, now: float) -> bool:
    """Delete some of the data that no run needs; ``False``: there is none."""
    abandon_stale(db, now)
    run = db.execute("SELECT run_id FROM remains LIMIT 1").fetchone()
    if run is None:
        return inputs.sweep(db, now)
    _clear_some(db, run[0])
    return True


def clear(db: Connection, run_id: str) -> None:
    """Delete all remains of a deleted run, because a new one gets its id."""
    while db.execute("SELECT 1 FROM remains WHERE run_id = ?", (run_id,)).fetchone():
        _clear_some(db, run_id)


def _clear_some(db: Connection, run_id: str) -> None:
    some = "SELECT number FROM instances WHERE run_id = ? ORDER BY number LIMIT ?"
    last = db.execute(f"SELECT max(number) FROM ({some})", (run_id, INSTANCES_AT_ONCE)).fetchone()[0]
    if last is not None:
        for table in ("events", "evidence", "instances"):
            db.execute(f"DELETE FROM {table} WHERE run_id = ? AND number <= ?", (run_id, last))
        return
    for table in ("statistics", "pauses", "remains"):
        db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))


def compact(db: Connection) -> int:
    """Give some unused pages back; returns their number."""
    before = db.execute("PRAGMA freelist_count").fetchone()[0]
    for _ in range(min(before, PAGES_AT_ONCE)):
        # One page for each call: the statement frees a page in each step, and Python steps once through one that has no columns.
        db.execute("PRAGMA incremental_vacuum(1)")
    return int(before - db.execute("PRAGMA freelist_count").fetchone()[0])


def page_size(db: Connection) -> int:
    return int(db.execute("PRAGMA page_size").fetchone()[0])
