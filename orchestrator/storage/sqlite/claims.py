"""Queries for shards: claims, leases and epochs. A write runs in a write transaction, which makes it atomic."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from sqlite3 import Connection

import attrs

from orchestrator.errors import StaleEpochError
from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage import rows
from orchestrator.storage.base import WallClock
from orchestrator.storage.lease import Owner
from orchestrator.storage.records import Shard
from orchestrator.storage.rules import claimed, released, run_status

_SHARDS = f"SELECT {', '.join(rows.SHARD)} FROM shards WHERE run_id = ?"


def get(db: Connection, run_id: str, index: int) -> Shard | None:
    row = db.execute(f"{_SHARDS} AND shard = ?", (run_id, index)).fetchone()
    return rows.shard_from_row(row) if row else None


def all_of(db: Connection, run_id: str) -> list[Shard]:
    return [rows.shard_from_row(row) for row in db.execute(f"{_SHARDS} ORDER BY shard", (run_id,))]


def insert(db: Connection, made: Sequence[Shard]) -> None:
    places = ", ".join("?" * len(rows.SHARD))
    db.executemany(f"INSERT INTO shards ({', '.join(rows.SHARD)}) VALUES ({places})", [rows.shard_row(one) for one in made])


def claim(db: Connection, run_id: str, index: int, owner: Owner, lease_s: float, clock: WallClock) -> Shard | None:
    # Read and raise the epoch in one write transaction: otherwise two claimants would both win.
    shard = get(db, run_id, index)
    return None if shard is None else _update(db, claimed(shard, owner, lease_s, clock.now()))


def renew(db: Connection, shard: Shard, lease_s: float, clock: WallClock) -> Shard:
    check_epoch(db, shard)
    return _update(db, attrs.evolve(shard, lease_until=clock.now() + lease_s))


def release(
    db: Connection, shards: Sequence[Shard], done: Collection[int], meanwhile: RunStatus | None, clock: WallClock
) -> RunStatus:
    run_id, now, ours = shards[0].run_id, clock.now(), 0
    for shard in shards:
        current = get(db, run_id, shard.index)
        if current is not None and current.epoch == shard.epoch:
            _update(db, released(current, now, done=shard.index in done))
            ours += 1
    if ours and meanwhile is not None:
        set_run_status(db, run_id, run_status(all_of(db, run_id), meanwhile, now), now)
    return RunStatus(db.execute("SELECT status FROM runs WHERE id = ?", (run_id,)).fetchone()[0])


def ask_to_stop(db: Connection, run_id: str) -> int | None:
    """``None``: the run has no shard, so there is no such run."""
    if not all_of(db, run_id):
        return None
    return db.execute("UPDATE shards SET stop_epoch = epoch WHERE run_id = ? AND owner IS NOT NULL", (run_id,)).rowcount


def set_run_status(db: Connection, run_id: str, status: RunStatus, now: float) -> None:
    db.execute("UPDATE runs SET status = ?, updated_at = ? WHERE id = ?", (status.value, now, run_id))


def check_epoch(db: Connection, shard: Shard) -> None:
    """Raises ``StaleEpochError`` if another process has claimed the shard."""
    current = get(db, shard.run_id, shard.index)
    if current is None or current.epoch != shard.epoch:
        raise StaleEpochError(shard.run_id, shard.epoch)


def _update(db: Connection, shard: Shard) -> Shard:
    db.execute(
        "UPDATE shards SET epoch = ?, owner = ?, lease_until = ?, done = ? WHERE run_id = ? AND shard = ?",
        (shard.epoch, shard.owner, shard.lease_until, shard.done, shard.run_id, shard.index),
    )
    return shard
