"""Queries that copy runs from and to other stores. The table ``imports`` names the copies that are not finished."""

from __future__ import annotations

from sqlite3 import Connection

from orchestrator.errors import RunExistsError, StoreError
from orchestrator.storage import rows
from orchestrator.storage.lease import Owner
from orchestrator.storage.rules import copy_missing
from orchestrator.storage.sqlite import deleting, instances, measurements, runs
from orchestrator.storage.transfer import Evidence, RunFrame, RunPart


def export(db: Connection, run_id: str, after: int, limit: int) -> RunPart:
    db.execute("BEGIN")
    try:
        found = instances.load(db, run_id, None, after=after, limit=limit, shard=None)
        span = (run_id, found[0].number, found[-1].number) if found else (run_id, 0, -1)
        events = db.execute(
            f"SELECT {', '.join(rows.EVENT)} FROM events WHERE run_id = ? AND number BETWEEN ? AND ? ORDER BY number, seq", span
        ).fetchall()
        evidence = db.execute(
            "SELECT number, at, body FROM evidence WHERE run_id = ? AND number BETWEEN ? AND ? ORDER BY number, rowid", span
        ).fetchall()
    finally:
        db.execute("COMMIT")
    return RunPart(
        checkpoints=found, events=[rows.event_from_row(row) for row in events], evidence=[Evidence(*row) for row in evidence]
    )


def begin(db: Connection, run_id: str, owner: Owner, now: float, where: str) -> None:
    deleting.abandon_stale(db, now)
    if runs.exists(db, run_id) or deleting.is_reserved(db, run_id):
        raise RunExistsError(run_id, where)
    deleting.clear(db, run_id)
    db.execute("INSERT INTO imports (run_id, owner, added_at) VALUES (?, ?, ?)", (run_id, owner.dumps(), now))


def add(db: Connection, run_id: str, part: RunPart, owner: Owner) -> None:
    _check(db, run_id, owner)
    for table, names, values in (
        ("instances", rows.CHECKPOINT, map(rows.checkpoint_row, part.checkpoints)),
        ("events", rows.EVENT, map(rows.event_row, part.events)),
        ("evidence", ("run_id", "number", "at", "body"), ((run_id, e.number, e.at, e.body) for e in part.evidence)),
    ):
        places = ", ".join("?" * len(names))
        db.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", values)


def finish(db: Connection, frame: RunFrame, owner: Owner, where: str) -> None:
    run = frame.run
    _check(db, run.id, owner)
    db.execute("DELETE FROM imports WHERE run_id = ?", (run.id,))
    runs.create(db, run, frame.definitions.get(run.definition, {}), frame.shards, where)
    for definition, fingerprints in frame.definitions.items():
        runs.add_fingerprints(db, definition, fingerprints)
    for window in frame.windows:
        measurements.insert_window(db, run.id, window)
    for group, until in frame.pauses.items():
        measurements.put_pause(db, run.id, group, until)


def abandon(db: Connection, run_id: str, owner: Owner) -> None:
    """A copy that was not finished; :func:`orchestrator.storage.sqlite.deleting.sweep` deletes its data."""
    if db.execute("SELECT 1 FROM imports WHERE run_id = ? AND owner = ?", (run_id, owner.dumps())).fetchone():
        deleting.give_up(db, run_id)


def _check(db: Connection, run_id: str, owner: Owner) -> None:
    if not db.execute("SELECT 1 FROM imports WHERE run_id = ? AND owner = ?", (run_id, owner.dumps())).fetchone():
        raise StoreError(copy_missing(run_id))
