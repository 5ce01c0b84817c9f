"""Queries for checkpoints, events and evidence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from sqlite3 import Connection

from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import RESUMABLE, Status
from orchestrator.storage import rows
from orchestrator.storage.records import Checkpoint, Shard

_CHECKPOINTS = f"SELECT {', '.join(rows.CHECKPOINT)} FROM instances WHERE run_id = ?"


def load(
    db: Connection, run_id: str, statuses: Collection[Status] | None, *, after: int, limit: int, shard: Shard | None
) -> list[Checkpoint]:
    of, index = (1, 0) if shard is None else (shard.of, shard.index)
    if statuses is None:
        sql = f"{_CHECKPOINTS} AND number > ? AND number % ? = ? ORDER BY number LIMIT ?"
        return [rows.checkpoint_from_row(row) for row in db.execute(sql, (run_id, after, of, index, limit))]
    # One index scan per status: a few failed instances among a hundred thousand are found without reading the others.
    ahead = (
        "SELECT number FROM (SELECT number FROM instances WHERE run_id = ? AND status = ? AND number > ? AND number % ? = ? "
        "ORDER BY number LIMIT ?)"
    )
    numbers = " UNION ALL ".join([ahead] * len(statuses)) or "SELECT 0 WHERE 0"
    walks = [value for status in sorted(statuses) for value in (run_id, status, after, of, index, limit)]
    found = db.execute(f"{_CHECKPOINTS} AND number IN ({numbers}) ORDER BY number LIMIT ?", (run_id, *walks, limit))
    return [rows.checkpoint_from_row(row) for row in found]


def unadmitted(db: Connection, shard: Shard, total: int) -> list[range]:
    # A row behind the last number closes the final gap.
    end = shard.index + max(0, -((shard.index - total) // shard.of)) * shard.of
    found = db.execute(
        "SELECT begin, number FROM (SELECT lag(number, 1, ?) OVER (ORDER BY number) + ? AS begin, number FROM "
        "(SELECT number FROM instances WHERE run_id = ? AND number < ? AND number % ? = ? UNION ALL SELECT ?)) "
        "WHERE number > begin",
        (shard.index - shard.of, shard.of, shard.run_id, end, shard.of, shard.index, end),
    )
    return [range(begin, number, shard.of) for begin, number in found]


def counts(db: Connection, run_id: str) -> Mapping[tuple[Status, str], int]:
    found = db.execute("SELECT status, position, count(*) FROM instances WHERE run_id = ? GROUP BY status, position", (run_id,))
    return {(Status(status), position): count for status, position, count in found}


def effects(db: Connection, run_id: str) -> Mapping[str, int]:
    return rows.effects_counted(
        db.execute("SELECT effects, count(*) FROM instances WHERE run_id = ? AND effects IS NOT NULL GROUP BY effects", (run_id,))
    )


def uncounted(db: Connection, run_id: str, after: int, limit: int) -> list[Checkpoint]:
    sql = f"{_CHECKPOINTS} AND number > ? AND effects IS NULL ORDER BY number LIMIT ?"
    return [rows.checkpoint_from_row(row) for row in db.execute(sql, (run_id, after, limit))]


def oldest(db: Connection, run_id: str) -> Mapping[str, tuple[int, float]]:
    # SQLite takes the bare column from the row that has the minimum.
    found = db.execute(
        "SELECT position, number, min(updated_at) FROM instances "
        f"WHERE run_id = ? AND status IN ({', '.join('?' * len(RESUMABLE))}) GROUP BY position",
        (run_id, *sorted(RESUMABLE)),
    )
    return {position: (number, updated_at) for position, number, updated_at in found}


def evidence(db: Connection, run_id: str, number: int) -> list[bytes]:
    found = db.execute("SELECT body FROM evidence WHERE run_id = ? AND number = ? ORDER BY rowid", (run_id, number))
    return [row[0] for row in found]


def events(db: Connection, run_id: str, number: int) -> list[Event]:
    sql = f"SELECT {', '.join(rows.EVENT)} FROM events WHERE run_id = ? AND number = ? ORDER BY seq"
    return [rows.event_from_row(row) for row in db.execute(sql, (run_id, number))]
