"""Queries for lists of runs."""

from __future__ import annotations

from sqlite3 import Connection

from orchestrator.storage import rows
from orchestrator.storage.listing import RunCursor, RunFilter, RunPage

_COLUMNS = ", ".join(rows.RUN)


def page(db: Connection, wanted: RunFilter, after: RunCursor | None, limit: int) -> RunPage:
    """Count and read in one transaction, so that both are of the same moment."""
    where, values = _conditions(wanted)
    behind, place = ("", ()) if after is None else (" AND (created_at, id) < (?, ?)", (after.created_at, after.run_id))
    # Without statistics SQLite chooses the index that saves the sorting, and reads every run of the workflow.
    both = wanted.workflow is not None and wanted.statuses is not None
    table = "runs INDEXED BY runs_by_workflow_and_status" if both else "runs"
    db.execute("BEGIN")
    try:
        total = db.execute(f"SELECT count(*) FROM {table} WHERE {where}", values).fetchone()[0]
        sql = f"SELECT {_COLUMNS} FROM {table} WHERE {where}{behind} ORDER BY created_at DESC, id DESC LIMIT ?"
        found = db.execute(sql, (*values, *place, limit + 1)).fetchall()
    finally:
        db.execute("COMMIT")
    return RunPage.cut([rows.run_from_row(row) for row in found], limit, total)


def _conditions(wanted: RunFilter) -> tuple[str, list[object]]:
    conditions, values = ["1"], list[object]()
    if wanted.statuses is not None:
        conditions.append(f"status IN ({', '.join('?' * len(wanted.statuses))})")
        values += sorted(wanted.statuses)
    for condition, value in (
        ("workflow = ?", wanted.workflow),
        ("created_at >= ?", wanted.since),
        ("created_at < ?", wanted.before),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return " AND ".join(conditions), values
