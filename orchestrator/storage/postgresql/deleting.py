"""Queries that delete runs.

A run disappears when its row does; the table ``remains`` names it until its other data is deleted, in parts: a transaction that
deletes millions of rows could not be repeated in time after a lost connection.
"""

from __future__ import annotations

from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage.lease import Owner
from orchestrator.storage.postgresql import claims, inputs
from orchestrator.storage.postgresql.session import Link
from orchestrator.storage.rules import drivers_of, is_staged
from orchestrator.storage.usage import RunUsage

INSTANCES_AT_ONCE = 200
"""Instances that one transaction deletes; each has up to 200 events."""


async def usage(link: Link, run_id: str, *, lock: bool = False) -> RunUsage | None:
    """In a transaction. ``None``: there is no such run.

    Args:
        lock: Make claims, and runs that reuse this one, wait for the end of the transaction.
    """
    ending = " FOR UPDATE" if lock else ""
    status = await link.db.fetchval(f"SELECT status FROM runs WHERE id = $1{ending}", run_id)
    if status is None:
        return None
    if lock:
        await link.db.fetch("SELECT 1 FROM shards WHERE run_id = $1 ORDER BY shard FOR UPDATE", run_id)
    sql = "SELECT count(*) FROM instances WHERE run_id = $1 AND (effects IS NULL OR effects <> '[]')"
    reusing = await link.db.fetch("SELECT id FROM runs WHERE reuse = $1 ORDER BY id", run_id)
    return RunUsage(
        run_id=run_id,
        status=RunStatus(status),
        drivers=drivers_of(await claims.all_of(link, run_id), await link.now()),
        with_effects=await link.db.fetchval(sql, run_id),
        reused_by=tuple(row[0] for row in reusing),
    )


class Deletion:
    """The deletion of a run, which knows its own traces when it is repeated."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._usage: RunUsage | None = None

    async def __call__(self, link: Link) -> RunUsage | None:
        """In a transaction. ``None``: there is no such run."""
        run_id, deleted = self._run_id, self._usage
        found = await usage(link, run_id, lock=True)
        if found is None:
            return deleted if link.repeated else None
        self._usage = found
        if found.obstacle() is None:
            await link.db.execute("INSERT INTO remains (run_id) VALUES ($1)", run_id)
            await link.db.execute("DELETE FROM shards WHERE run_id = $1", run_id)
            await link.db.execute("DELETE FROM runs WHERE id = $1", run_id)
            await inputs.abandon_of(link, run_id)
        return found


async def is_reserved(link: Link, run_id: str) -> bool:
    """Whether a copy of this run is under way."""
    return await link.db.fetchval("SELECT 1 FROM imports WHERE run_id = $1", run_id) is not None


async def give_up(link: Link, run_id: str) -> None:
    """In a transaction. A copy that will not be finished becomes remains."""
    await link.db.execute("DELETE FROM imports WHERE run_id = $1", run_id)
    await link.db.execute("INSERT INTO remains (run_id) VALUES ($1) ON CONFLICT DO NOTHING", run_id)


async def abandon_stale(link: Link) -> None:
    """In a transaction. Give up the copies whose owners will not finish them."""
    now = await link.now()
    for run_id, owner, added_at in await link.db.fetch("SELECT run_id, owner, added_at FROM imports FOR UPDATE SKIP LOCKED"):
        if not is_staged(Owner.loads(owner), added_at, now):
            await give_up(link, run_id)


async def sweep(link: Link) -> bool:
    """In a transaction. Delete some of the data that no run needs; ``False``: there is none."""
    await abandon_stale(link)
    # Another process that sweeps has locked the run that it clears.
    run_id = await link.db.fetchval("SELECT run_id FROM remains LIMIT 1 FOR UPDATE SKIP LOCKED")
    if run_id is None:
        return await inputs.sweep(link)
    await _clear_some(link, run_id)
    return True


async def clear(link: Link, run_id: str) -> None:
    """In a transaction. Delete all remains of a deleted run, because a new one gets its id."""
    while await link.db.fetchval("SELECT 1 FROM remains WHERE run_id = $1 FOR UPDATE", run_id) is not None:
        await _clear_some(link, run_id)


async def _clear_some(link: Link, run_id: str) -> None:
    some = "SELECT number FROM instances WHERE run_id = $1 ORDER BY number LIMIT $2"
    last = await link.db.fetchval(f"SELECT max(number) FROM ({some}) AS part", run_id, INSTANCES_AT_ONCE)
    if last is not None:
        for table in ("events", "evidence", "instances"):
            await link.db.execute(f"DELETE FROM {table} WHERE run_id = $1 AND number <= $2", run_id, last)
        return
    for table in ("statistics", "pauses", "remains"):
        await link.db.execute(f"DELETE FROM {table} WHERE run_id = $1", run_id)
