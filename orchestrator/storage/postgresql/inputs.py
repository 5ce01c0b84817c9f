"""Queries for the rows that are the input of instances. Those that write run in a transaction.

Rows are added under a key before their run is stored. The table ``inputs`` says to which run a key belongs: to none before the run
is stored, and to none again when it has been deleted.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.storage.lease import Owner, is_gone
from orchestrator.storage.postgresql.session import Link
from orchestrator.storage.records import STAGING_LIMIT_S

ROWS_AT_ONCE = 5000
"""Rows that one transaction deletes."""


async def add(link: Link, key: str, rows: Mapping[int, bytes], owner: Owner) -> None:
    sql = "INSERT INTO inputs (key, owner, added_at) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING"
    await link.db.execute(sql, key, owner.dumps(), await link.now())
    # The same rows are there already if the answer of an earlier attempt was lost.
    again = " ON CONFLICT (key, number) DO UPDATE SET body = excluded.body" if link.repeated else ""
    await link.db.execute(
        f"INSERT INTO input_rows (key, number, body) SELECT $1, * FROM unnest($2::int8[], $3::bytea[]){again}",
        key, list(rows), list(rows.values()),
    )  # fmt: skip


async def assign(link: Link, key: str, run_id: str) -> bool:
    """Make them the rows of a run; ``False``: they are not there."""
    sql = "UPDATE inputs SET run_id = $2 WHERE key = $1 AND run_id IS NULL AND owner IS NOT NULL RETURNING 1"
    return await link.db.fetchval(sql, key, run_id) is not None


async def abandon(link: Link, key: str) -> None:
    """Rows whose run was not stored: :func:`sweep` deletes them."""
    await link.db.execute("UPDATE inputs SET owner = NULL WHERE key = $1 AND run_id IS NULL", key)


async def abandon_of(link: Link, run_id: str) -> None:
    """The rows of a run that is being deleted."""
    await link.db.execute("UPDATE inputs SET run_id = NULL, owner = NULL WHERE run_id = $1", run_id)


async def get(link: Link, key: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    sql = "SELECT number, body FROM input_rows WHERE key = $1 AND number > $2 ORDER BY number LIMIT $3"
    return [(row[0], row[1]) for row in await link.db.fetch(sql, key, after, limit)]


async def sweep(link: Link) -> bool:
    """Delete some of the rows that no run needs; ``False``: there are none."""
    now = await link.now()
    staged = "SELECT key, owner, added_at FROM inputs WHERE run_id IS NULL FOR UPDATE SKIP LOCKED"
    for key, owner, added_at in await link.db.fetch(staged):
        if owner is not None and added_at > now - STAGING_LIMIT_S and not is_gone(Owner.loads(owner)):
            continue
        # First of all, so that a run can no longer get rows of which a part is gone.
        await link.db.execute("UPDATE inputs SET owner = NULL WHERE key = $1", key)
        some = "SELECT number FROM input_rows WHERE key = $1 ORDER BY number LIMIT $2"
        last = await link.db.fetchval(f"SELECT max(number) FROM ({some}) AS part", key, ROWS_AT_ONCE)
        if last is None:
            await link.db.execute("DELETE FROM inputs WHERE key = $1", key)
        else:
            await link.db.execute("DELETE FROM input_rows WHERE key = $1 AND number <= $2", key, last)
        return True
    return False
