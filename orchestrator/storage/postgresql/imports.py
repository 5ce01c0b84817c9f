"""Queries that copy runs from and to other stores. The table ``imports`` names the copies that are not finished.

Those that write run in a transaction.
"""

from __future__ import annotations

from orchestrator.errors import RunExistsError, StoreError
from orchestrator.storage import rows
from orchestrator.storage.lease import Owner
from orchestrator.storage.postgresql import deleting, instances, measurements, runs
from orchestrator.storage.postgresql.saving import cleaned, insert_rows
from orchestrator.storage.postgresql.session import Link
from orchestrator.storage.rules import copy_missing
from orchestrator.storage.transfer import Evidence, RunFrame, RunPart


async def export(link: Link, run_id: str, after: int, limit: int) -> RunPart:
    async with link.db.transaction(isolation="repeatable_read", readonly=True):
        found = await instances.load(link, run_id, None, after=after, limit=limit, shard=None)
        span = (run_id, found[0].number, found[-1].number) if found else (run_id, 0, -1)
        columns, where = ", ".join(rows.EVENT), "WHERE run_id = $1 AND number BETWEEN $2 AND $3"
        events = await link.db.fetch(f"SELECT {columns} FROM events {where} ORDER BY number, seq", *span)
        evidence = await link.db.fetch(f"SELECT number, at, body FROM evidence {where} ORDER BY number, id", *span)
    return RunPart(
        checkpoints=found, events=[rows.event_from_row(row) for row in events], evidence=[Evidence(*row) for row in evidence]
    )


async def begin(link: Link, run_id: str, owner: Owner, where: str) -> None:
    await deleting.abandon_stale(link)
    if link.repeated and await _is_ours(link, run_id, owner):
        return  # the answer of an earlier attempt was lost
    if await runs.exists(link, run_id):
        raise RunExistsError(run_id, where)
    await deleting.clear(link, run_id)
    sql = "INSERT INTO imports (run_id, owner, added_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1"
    if await link.db.fetchval(sql, run_id, owner.dumps(), await link.now()) is None:
        raise RunExistsError(run_id, where)


async def add(link: Link, run_id: str, part: RunPart, owner: Owner) -> None:
    if not await _is_ours(link, run_id, owner):
        raise StoreError(copy_missing(run_id))
    numbers = [row.number for row in part.checkpoints]
    if link.repeated and await link.db.fetchval(
        "SELECT 1 FROM instances WHERE run_id = $1 AND number = ANY ($2) LIMIT 1", run_id, numbers
    ):
        return  # the answer of an earlier attempt was lost
    await insert_rows(link, "instances", rows.CHECKPOINT, map(rows.checkpoint_row, part.checkpoints))
    await insert_rows(link, "events", rows.EVENT, map(rows.event_row, map(cleaned, part.events)))
    evidence = ((run_id, e.number, e.at, e.body) for e in part.evidence)
    await insert_rows(link, "evidence", ("run_id", "number", "at", "body"), evidence)


async def finish(link: Link, frame: RunFrame, owner: Owner, where: str) -> None:
    run = frame.run
    if not await _is_ours(link, run.id, owner):
        if link.repeated and await runs.get(link, run.id) == run:
            return  # the answer of an earlier attempt was lost
        raise StoreError(copy_missing(run.id))
    await link.db.execute("DELETE FROM imports WHERE run_id = $1", run.id)
    await runs.create(link, run, frame.definitions.get(run.definition, {}), frame.shards, where)
    for definition, fingerprints in frame.definitions.items():
        await runs.add_fingerprints(link, definition, fingerprints)
    windows = ((run.id, w.shard, w.epoch, w.seq, w.body) for w in frame.windows)
    await insert_rows(link, "statistics", ("run_id", "shard", "epoch", "seq", "body"), windows)
    for group, until in frame.pauses.items():
        await measurements.put_pause(link, run.id, group, until)


async def abandon(link: Link, run_id: str, owner: Owner) -> None:
    """A copy that was not finished; :func:`orchestrator.storage.postgresql.deleting.sweep` deletes its data."""
    if await _is_ours(link, run_id, owner):
        await deleting.give_up(link, run_id)


async def _is_ours(link: Link, run_id: str, owner: Owner) -> bool:
    sql = "SELECT 1 FROM imports WHERE run_id = $1 AND owner = $2 FOR UPDATE"
    return await link.db.fetchval(sql, run_id, owner.dumps()) is not None
