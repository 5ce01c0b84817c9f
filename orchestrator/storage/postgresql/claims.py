"""Queries for shards: claims, leases and epochs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orchestrator.errors import StaleEpochError
from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage import rows
from orchestrator.storage.lease import Owner
from orchestrator.storage.postgresql.session import Link
from orchestrator.storage.records import Shard
from orchestrator.storage.rules import claimed, run_status

_COLUMNS = ", ".join(rows.SHARD)
_SHARDS = f"SELECT {_COLUMNS} FROM shards WHERE run_id = $1"


async def all_of(link: Link, run_id: str) -> list[Shard]:
    return [rows.shard_from_row(row) for row in await link.db.fetch(f"{_SHARDS} ORDER BY shard", run_id)]


async def insert(link: Link, made: Sequence[Shard]) -> None:
    places = ", ".join(f"${n}" for n in range(1, len(rows.SHARD) + 1))
    await link.db.executemany(f"INSERT INTO shards ({_COLUMNS}) VALUES ({places})", [rows.shard_row(one) for one in made])


class Claim:
    """A claim of a shard by an owner. It holds no lock while this process decides: a frozen one would keep it."""

    def __init__(self, run_id: str, index: int, owner: Owner, lease_s: float) -> None:
        self._place = (run_id, index)
        self._owner = owner
        self._lease_s = lease_s
        self._attempted: Shard | None = None

    async def __call__(self, link: Link) -> Shard | None:
        """``None``: there is no such shard."""
        while (row := await link.db.fetchrow(f"{_SHARDS} AND shard = $2", *self._place)) is not None:
            found = rows.shard_from_row(row)
            if link.repeated and found == self._attempted:
                return found  # the answer of an earlier attempt was lost
            wanted = claimed(found, self._owner, self._lease_s, await link.now())
            self._attempted = wanted
            changed = await link.db.fetchrow(
                "UPDATE shards SET epoch = $3, owner = $4, lease_until = $5, done = false WHERE run_id = $1 AND shard = $2 "
                "AND epoch = $6 AND owner IS NOT DISTINCT FROM $7 AND lease_until = $8 RETURNING 1",
                *self._place, wanted.epoch, wanted.owner, wanted.lease_until, found.epoch, found.owner, found.lease_until,
            )  # fmt: skip
            if changed is not None:
                return wanted
        return None


async def ask_to_stop(link: Link, run_id: str) -> int | None:
    """``None``: the run has no shard, so there is no such run."""
    if not await all_of(link, run_id):
        return None
    sql = "UPDATE shards SET stop_epoch = epoch WHERE run_id = $1 AND owner IS NOT NULL RETURNING 1"
    return len(await link.db.fetch(sql, run_id))


async def renew(link: Link, shard: Shard, lease_s: float) -> Shard:
    row = await link.db.fetchrow(
        f"UPDATE shards SET lease_until = $4 WHERE run_id = $1 AND shard = $2 AND epoch = $3 RETURNING {_COLUMNS}",
        shard.run_id, shard.index, shard.epoch, await link.now() + lease_s,
    )  # fmt: skip
    if row is None:
        raise StaleEpochError(shard.run_id, shard.epoch)
    return rows.shard_from_row(row)


async def release(link: Link, shards: Sequence[Shard], done: Collection[int], meanwhile: RunStatus | None) -> RunStatus:
    """In a transaction."""
    run_id, now = shards[0].run_id, await link.now()
    # Locked first: two processes that release their last shards see each other's.
    found = await link.db.fetchval("SELECT status FROM runs WHERE id = $1 FOR UPDATE", run_id)
    ours = await link.db.fetch(
        "UPDATE shards s SET owner = NULL, lease_until = $2, done = w.done "
        "FROM unnest($3::int4[], $4::int8[], $5::bool[]) AS w (shard, epoch, done) "
        "WHERE s.run_id = $1 AND s.shard = w.shard AND s.epoch = w.epoch RETURNING 1",
        run_id, now, [s.index for s in shards], [s.epoch for s in shards], [s.index in done for s in shards],
    )  # fmt: skip
    if not ours or meanwhile is None:
        return RunStatus(found)
    status = run_status(await all_of(link, run_id), meanwhile, now)
    await link.db.execute("UPDATE runs SET status = $2, updated_at = $3 WHERE id = $1", run_id, status.value, now)
    return status


async def fence(link: Link, shards: Sequence[Shard]) -> None:
    """Make claims of these shards wait for the end of the transaction. Raises ``StaleEpochError``."""
    sql = "SELECT epoch FROM shards WHERE run_id = $1 AND shard = $2 FOR SHARE"
    for shard in sorted(shards, key=lambda one: one.index):
        if await link.db.fetchval(sql, shard.run_id, shard.index) != shard.epoch:
            raise StaleEpochError(shard.run_id, shard.epoch)
