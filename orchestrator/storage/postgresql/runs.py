"""Queries for runs and the definitions that they were started under. Those that write run in a transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import orjson

from orchestrator.errors import RunExistsError, StoreError, UnknownRunError
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage import rows
from orchestrator.storage.listing import RunCursor, RunFilter, RunPage
from orchestrator.storage.postgresql import claims, deleting, inputs
from orchestrator.storage.postgresql.session import Link
from orchestrator.storage.records import Shard
from orchestrator.storage.rules import rows_missing

_COLUMNS = ", ".join(rows.RUN)
_RUNS = f"SELECT {_COLUMNS} FROM runs"


async def create(link: Link, run: RunRecord, fingerprints: Mapping[str, str], made: Sequence[Shard], where: str) -> None:
    if await exists(link, run.id) or await deleting.is_reserved(link, run.id):
        if link.repeated and await get(link, run.id) == run and await claims.all_of(link, run.id) == list(made):
            return  # the answer of an earlier attempt was lost
        raise RunExistsError(run.id, where)
    if run.scenario.reuse is not None and not await exists(link, run.scenario.reuse, lock=True):
        raise UnknownRunError(f"run {run.scenario.reuse}", where)
    await deleting.clear(link, run.id)
    if run.rows is not None and not await inputs.assign(link, run.rows.key, run.id):
        raise StoreError(rows_missing(run.id))
    await add_fingerprints(link, run.definition, fingerprints)
    places = ", ".join(f"${n}" for n in range(1, len(rows.RUN) + 1))
    sql = f"INSERT INTO runs ({_COLUMNS}) VALUES ({places}) ON CONFLICT (id) DO NOTHING RETURNING 1"
    if await link.db.fetchval(sql, *rows.run_row(run)) is None:
        raise RunExistsError(run.id, where)  # another process has just created it
    await claims.insert(link, made)


async def exists(link: Link, run_id: str, *, lock: bool = False) -> bool:
    # The lock keeps a run that is reused from being deleted before the one that reuses it is there.
    return await link.db.fetchval(f"SELECT 1 FROM runs WHERE id = $1{' FOR SHARE' if lock else ''}", run_id) is not None


async def get(link: Link, run_id: str) -> RunRecord | None:
    row = await link.db.fetchrow(f"{_RUNS} WHERE id = $1", run_id)
    return None if row is None else rows.run_from_row(row)


async def page(link: Link, wanted: RunFilter, after: RunCursor | None, limit: int) -> RunPage:
    conditions = (
        "($1::text[] IS NULL OR status = ANY ($1)) AND ($2::text IS NULL OR workflow = $2) "
        "AND ($3::float8 IS NULL OR created_at >= $3) AND ($4::float8 IS NULL OR created_at < $4)"
    )
    statuses = None if wanted.statuses is None else sorted(wanted.statuses)
    values = (statuses, wanted.workflow, wanted.since, wanted.before)
    # In one snapshot, so that both are of the same moment.
    async with link.db.transaction(isolation="repeatable_read", readonly=True):
        total = await link.db.fetchval(f"SELECT count(*) FROM runs WHERE {conditions}", *values)
        found = await link.db.fetch(
            f"{_RUNS} WHERE {conditions} AND ($5::float8 IS NULL OR (created_at, id) < ($5, $6::text)) "
            "ORDER BY created_at DESC, id DESC LIMIT $7",
            *values, after and after.created_at, after and after.run_id, limit + 1,
        )  # fmt: skip
    return RunPage.cut([rows.run_from_row(row) for row in found], limit, total)


async def set_status(link: Link, shard: Shard, status: RunStatus) -> None:
    await claims.fence(link, [shard])
    sql = "UPDATE runs SET status = $2, updated_at = $3 WHERE id = $1"
    await link.db.execute(sql, shard.run_id, status.value, await link.now())


async def set_reports(link: Link, run_id: str, reports: Mapping[str, str]) -> RunRecord | None:
    row = await link.db.fetchrow(f"{_RUNS} WHERE id = $1 FOR UPDATE", run_id)
    if row is None:
        return None
    run = attrs.evolve(rows.run_from_row(row), reports=reports)
    await link.db.execute("UPDATE runs SET body = $2 WHERE id = $1", run_id, rows.run_body(run))
    return run


async def change_scenario(link: Link, run_id: str, change: Callable[[Scenario], Scenario]) -> RunRecord | None:
    row = await link.db.fetchrow(f"{_RUNS} WHERE id = $1 FOR UPDATE", run_id)
    if row is None:
        return None
    run = rows.run_from_row(row)
    run = attrs.evolve(run, scenario=change(run.scenario))
    await link.db.execute("UPDATE runs SET body = $2 WHERE id = $1", run_id, rows.run_body(run))
    return run


async def fingerprints(link: Link, definition: str) -> Mapping[str, str]:
    found = await link.db.fetchval("SELECT fingerprints FROM definitions WHERE definition = $1", definition)
    return {} if found is None else orjson.loads(found)


async def add_fingerprints(link: Link, definition: str, fingerprints: Mapping[str, str]) -> None:
    sql = "INSERT INTO definitions (definition, fingerprints) VALUES ($1, $2) ON CONFLICT (definition) DO NOTHING"
    await link.db.execute(sql, definition, rows.fingerprints_json(fingerprints))
