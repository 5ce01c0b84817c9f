"""Queries for windows of statistics and pauses of rate groups. Those that write run in a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from orchestrator.storage.postgresql import claims
from orchestrator.storage.postgresql.session import Link
from orchestrator.storage.records import Shard, StoredWindow


async def save_windows(
    link: Link, shards: Sequence[Shard], windows: Mapping[int, bytes], gone: Collection[int], elapsed: float
) -> None:
    first = shards[0]
    key = (first.run_id, first.index, first.epoch)
    await claims.fence(link, shards)
    await link.db.execute(
        "UPDATE shards SET elapsed = $2 WHERE run_id = $1 AND shard = ANY ($3)",
        first.run_id, elapsed, [shard.index for shard in shards],
    )  # fmt: skip
    await link.db.execute(
        "INSERT INTO statistics (run_id, shard, epoch, seq, body) SELECT $1, $2, $3, * FROM unnest($4::int8[], $5::bytea[]) "
        "ON CONFLICT (run_id, shard, epoch, seq) DO UPDATE SET body = excluded.body",
        *key, list(windows), list(windows.values()),
    )  # fmt: skip
    sql = "DELETE FROM statistics WHERE run_id = $1 AND shard = $2 AND epoch = $3 AND seq = ANY ($4)"
    await link.db.execute(sql, *key, list(gone))


async def windows(link: Link, run_id: str) -> list[StoredWindow]:
    sql = "SELECT shard, epoch, seq, body FROM statistics WHERE run_id = $1 ORDER BY shard, epoch, seq"
    return [StoredWindow(*row) for row in await link.db.fetch(sql, run_id)]


async def save_pause(link: Link, shard: Shard, group: str, until: float) -> None:
    await claims.fence(link, [shard])
    await put_pause(link, shard.run_id, group, until)


async def put_pause(link: Link, run_id: str, group: str, until: float) -> None:
    await link.db.execute(
        "INSERT INTO pauses (run_id, rate_group, until) VALUES ($1, $2, $3) "
        "ON CONFLICT (run_id, rate_group) DO UPDATE SET until = excluded.until",
        run_id, group, until,
    )  # fmt: skip


async def pauses(link: Link, run_id: str) -> Mapping[str, float]:
    found = await link.db.fetch("SELECT rate_group, until FROM pauses WHERE run_id = $1", run_id)
    return {row["rate_group"]: row["until"] for row in found}
