"""Queries for checkpoints, events and evidence."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import RESUMABLE, Status
from orchestrator.storage import rows
from orchestrator.storage.postgresql.session import Link
from orchestrator.storage.records import Checkpoint, Shard

_COLUMNS = ", ".join(rows.CHECKPOINT)
_CHECKPOINTS = f"SELECT {_COLUMNS} FROM instances WHERE run_id = $1"


async def load(
    link: Link, run_id: str, statuses: Collection[Status] | None, *, after: int, limit: int, shard: Shard | None
) -> list[Checkpoint]:
    page = "AND number > $2 AND number % $3 = $4 ORDER BY number LIMIT $5"
    values = (run_id, after, *((1, 0) if shard is None else (shard.of, shard.index)), limit)
    if statuses is None:
        found = await link.db.fetch(f"{_CHECKPOINTS} {page}", *values)
    else:
        # One index scan per status: a few failed instances among a hundred thousand are found without reading the others.
        found = await link.db.fetch(
            f"SELECT found.* FROM unnest($6::text[]) AS wanted (status), LATERAL ({_CHECKPOINTS} AND status = wanted.status {page}) "
            "AS found ORDER BY number LIMIT $5",
            *values, sorted(statuses),
        )  # fmt: skip
    return [rows.checkpoint_from_row(row) for row in found]


async def unadmitted(link: Link, shard: Shard, total: int) -> list[range]:
    # A row behind the last number closes the final gap.
    end = shard.index + max(0, -((shard.index - total) // shard.of)) * shard.of
    found = await link.db.fetch(
        "SELECT begin, number FROM (SELECT lag(number, 1, $1::int8) OVER (ORDER BY number) + $2 AS begin, number FROM "
        "(SELECT number FROM instances WHERE run_id = $3 AND number < $4 AND number % $2 = $5 UNION ALL SELECT $4) AS known) AS gap "
        "WHERE number > begin",
        shard.index - shard.of, shard.of, shard.run_id, end, shard.index,
    )  # fmt: skip
    return [range(begin, number, shard.of) for begin, number in found]


async def counts(link: Link, run_id: str) -> Mapping[tuple[Status, str], int]:
    sql = "SELECT status, position, count(*) FROM instances WHERE run_id = $1 GROUP BY status, position"
    return {(Status(status), position): count for status, position, count in await link.db.fetch(sql, run_id)}


async def effects(link: Link, run_id: str) -> Mapping[str, int]:
    sql = "SELECT effects, count(*) FROM instances WHERE run_id = $1 AND effects IS NOT NULL GROUP BY effects"
    return rows.effects_counted([(row[0], row[1]) for row in await link.db.fetch(sql, run_id)])


async def uncounted(link: Link, run_id: str, after: int, limit: int) -> list[Checkpoint]:
    sql = f"{_CHECKPOINTS} AND number > $2 AND effects IS NULL ORDER BY number LIMIT $3"
    return [rows.checkpoint_from_row(row) for row in await link.db.fetch(sql, run_id, after, limit)]


async def oldest(link: Link, run_id: str) -> Mapping[str, tuple[int, float]]:
    found = await link.db.fetch(
        "SELECT DISTINCT ON (position) position, number, updated_at FROM instances WHERE run_id = $1 AND status = ANY ($2) "
        "ORDER BY position, updated_at, number",
        run_id, sorted(RESUMABLE),
    )  # fmt: skip
    return {position: (number, updated_at) for position, number, updated_at in found}


async def evidence(link: Link, run_id: str, number: int) -> list[bytes]:
    sql = "SELECT body FROM evidence WHERE run_id = $1 AND number = $2 ORDER BY id"
    return [row[0] for row in await link.db.fetch(sql, run_id, number)]


async def events(link: Link, run_id: str, number: int) -> list[Event]:
    sql = f"SELECT {', '.join(rows.EVENT)} FROM events WHERE run_id = $1 AND number = $2 ORDER BY seq"
    return [rows.event_from_row(row) for row in await link.db.fetch(sql, run_id, number)]
