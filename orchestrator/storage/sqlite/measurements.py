"""Queries for windows of statistics and pauses of rate groups."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from sqlite3 import Connection

from orchestrator.storage.records import Shard, StoredWindow
from orchestrator.storage.sqlite.claims import check_epoch


def save_windows(
    db: Connection, shards: Sequence[Shard], windows: Mapping[int, bytes], gone: Collection[int], elapsed: float
) -> None:
    key = (shards[0].run_id, shards[0].index, shards[0].epoch)
    for shard in shards:
        check_epoch(db, shard)
        db.execute("UPDATE shards SET elapsed = ? WHERE run_id = ? AND shard = ?", (elapsed, shard.run_id, shard.index))
    db.executemany(
        "INSERT INTO statistics (run_id, shard, epoch, seq, body) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (run_id, shard, epoch, seq) DO UPDATE SET body = excluded.body",
        [(*key, seq, body) for seq, body in windows.items()],
    )
    db.executemany(
        "DELETE FROM statistics WHERE run_id = ? AND shard = ? AND epoch = ? AND seq = ?", [(*key, seq) for seq in gone]
    )


def insert_window(db: Connection, run_id: str, window: StoredWindow) -> None:
    sql = "INSERT INTO statistics (run_id, shard, epoch, seq, body) VALUES (?, ?, ?, ?, ?)"
    db.execute(sql, (run_id, window.shard, window.epoch, window.seq, window.body))


def windows(db: Connection, run_id: str) -> list[StoredWindow]:
    sql = "SELECT shard, epoch, seq, body FROM statistics WHERE run_id = ? ORDER BY shard, epoch, seq"
    return [StoredWindow(*row) for row in db.execute(sql, (run_id,))]


def save_pause(db: Connection, shard: Shard, group: str, until: float) -> None:
    check_epoch(db, shard)
    put_pause(db, shard.run_id, group, until)


def put_pause(db: Connection, run_id: str, group: str, until: float) -> None:
    db.execute("INSERT OR REPLACE INTO pauses (run_id, rate_group, until) VALUES (?, ?, ?)", (run_id, group, until))


def pauses(db: Connection, run_id: str) -> Mapping[str, float]:
    return dict(db.execute("SELECT rate_group, until FROM pauses WHERE run_id = ?", (run_id,)).fetchall())
