"""Writing checkpoints with their events: one statement for a batch, which holds saves of several shards.

The statement takes its own fence: it locks the shards whose epochs are current, and writes only their rows. A claim
waits for a batch that is being written, and a batch that waited for a claim reads the new epoch. A lost answer is no problem: the
same batch, repeated before a later one, changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import attrs

from orchestrator.errors import StaleEpochError, StoreError
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage import rows
from orchestrator.storage.commits import Errors
from orchestrator.storage.postgresql import runs
from orchestrator.storage.postgresql.problems import UNSTORABLE, reason
from orchestrator.storage.postgresql.session import Link, Session
from orchestrator.storage.records import Save, Shard
from orchestrator.storage.rules import outdated_event

_TYPES = {
    "run_id": "text", "shard": "int4", "epoch": "int8", "number": "int8", "status": "text", "position": "text",
    "updated_at": "float8", "not_before": "float8", "effects": "text", "body": "bytea", "seq": "int8", "kind": "text",
    "at": "float8", "state": "text", "handler": "text", "attempt": "int4", "outcome": "text", "target": "text",
    "duration_s": "float8", "error": "text", "failure": "text", "code": "text",
}  # fmt: skip
_SHARD = ("run_id", "shard", "epoch")
_FENCE = ("shard", "epoch")
"""Columns that precede those of a table, to join with the fence by ``run_id``."""
_EVIDENCE = ("run_id", "number", "at", "body")
_OUTDATED = ("run_id", "number", "seq")

SAVES_AT_ONCE = 1000
"""Saves in one statement of a large transaction."""


class BatchWriter:
    """Writes the batches of a :class:`~orchestrator.storage.commits.GroupCommit`."""

    is_shared = False
    """The server commits batches of several processes together."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._task: asyncio.Task[Errors] | None = None

    def __call__(self, items: Sequence[Save], *, alone: bool, finish: Callable[[Errors], None]) -> Errors | None:
        """See :class:`~orchestrator.storage.commits.WriteBatch`."""
        # A task that no caller owns: a batch is written to its end, whichever of its callers are cancelled.
        self._task = asyncio.get_running_loop().create_task(self._write(items))
        self._task.add_done_callback(lambda task: finish(task.result()))
        return None

    async def _write(self, items: Sequence[Save]) -> Errors:
        try:
            return await self._session.read(write, items)
        except Exception as error:  # noqa: BLE001  # raised to every caller of the batch
            return [error] * len(items)


async def write(link: Link, saves: Sequence[Save]) -> Errors:
    """Write a batch. A save that is stale or cannot be stored does not affect the others."""
    if len({(save.checkpoint.run_id, save.checkpoint.number) for save in saves}) < len(saves):
        # A statement can change a row only once.
        return [(await write(link, [save]))[0] for save in saves]
    try:
        return await _put(link, saves)
    except UNSTORABLE as error:
        if len(saves) == 1:
            return [await _put_cleaned(link, saves[0], error)]
        return [(await write(link, [save]))[0] for save in saves]


async def write_all(link: Link, shard: Shard, saves: Sequence[Save], status: RunStatus) -> None:
    """In a transaction. Write all of them and the status of the run, or raise the first error."""
    await runs.set_status(link, shard, status)
    for first in range(0, len(saves), SAVES_AT_ONCE):
        for error in await _put(link, saves[first : first + SAVES_AT_ONCE]):
            if error is not None:
                raise error


async def _put_cleaned(link: Link, save: Save, error: Exception) -> Exception | None:
    """Write a save without the characters in its events that PostgreSQL does not store: NUL, and halves of surrogate pairs."""
    events = [cleaned(event) for event in save.events]
    if events != list(save.events):
        try:
            return (await _put(link, [attrs.evolve(save, events=events)]))[0]
        except UNSTORABLE as second:
            error = second
    return StoreError(f"instance {save.checkpoint.run_id}-{save.checkpoint.number} cannot be stored: {reason(error)}")


def cleaned(event: Event) -> Event:
    """The event without the characters that PostgreSQL does not store."""
    texts: JSONObject = {name: text for name in rows.EVENT if type(text := getattr(event, name)) is str}
    joined = "".join(texts.values())
    if joined.isascii() and "\0" not in joined:
        return event
    stored = {name: text.replace("\0", "\ufffd").encode(errors="replace").decode() for name, text in texts.items()}
    return attrs.evolve(event, **stored)


async def _put(link: Link, saves: Sequence[Save]) -> Errors:
    sql, values = statement(saves)
    current = {tuple(row) for row in await link.db.fetch(sql, *values)}
    return [
        None if (shard.run_id, shard.index, shard.epoch) in current else StaleEpochError(shard.run_id, shard.epoch)
        for shard in (save.shard for save in saves)
    ]


def statement(saves: Sequence[Save]) -> tuple[str, list[Sequence[object]]]:
    """The statement that writes a batch, and its values: one array for each column."""
    evidence, outdated = [], []
    instances, events = [], []
    for save in saves:
        shard, row = save.shard, save.checkpoint
        fence = (shard.index, shard.epoch)
        instances.append((*fence, *rows.checkpoint_row(row)))
        for event in save.events:
            events.append((*fence, *rows.event_row(event)))
            if (seq := outdated_event(event.seq or 0)) is not None:
                outdated.append((*fence, event.run_id, event.number, seq))
        if row.evidence is not None:
            evidence.append((*fence, row.run_id, row.number, row.updated_at, row.evidence))
    shards = {(save.shard.run_id, save.shard.index, save.shard.epoch) for save in saves}
    values = [
        *_columns(shards, len(_SHARD)),
        *_columns(instances, len(_FENCE) + len(rows.CHECKPOINT)),
        *_columns(events, len(_FENCE) + len(rows.EVENT)),
        *(_columns(evidence, len(_FENCE) + len(_EVIDENCE)) if evidence else ()),
        *(_columns(outdated, len(_FENCE) + len(_OUTDATED)) if outdated else ()),
    ]
    return _statement(bool(evidence), bool(outdated)), values


async def insert_rows(link: Link, table: str, names: Sequence[str], found: Iterable[Sequence[object]]) -> None:
    """Insert new rows."""
    places = ", ".join(f"${n}::{_TYPES[name]}[]" for n, name in enumerate(names, 1))
    sql = f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM unnest({places})"
    await link.db.execute(sql, *_columns(found, len(names)))


def _columns(found: Iterable[Sequence[object]], width: int) -> list[Sequence[object]]:
    return list(zip(*found, strict=True)) or [()] * width


@lru_cache
def _statement(evidence: bool, outdated: bool) -> str:
    first = 1

    def given(names: Sequence[str]) -> str:
        nonlocal first
        places = ", ".join(f"${first + n}::{_TYPES[name]}[]" for n, name in enumerate(names))
        first += len(names)
        return f"unnest({places}) AS w ({', '.join(names)})"

    def fenced(names: Sequence[str]) -> str:
        columns = ", ".join(f"w.{name}" for name in names)
        return f"SELECT {columns} FROM {given((*_FENCE, *names))} JOIN fence USING (run_id, shard, epoch)"

    changed = ("status", "position", "updated_at", "not_before", "effects", "body")
    parts = [
        f"""fence AS MATERIALIZED (
            SELECT s.run_id, s.shard, s.epoch FROM shards s JOIN {given(_SHARD)} USING (run_id, shard, epoch)
            ORDER BY s.run_id, s.shard FOR SHARE OF s)""",
        f"""saved AS (
            INSERT INTO instances ({", ".join(rows.CHECKPOINT)}) {fenced(rows.CHECKPOINT)}
            ON CONFLICT (run_id, number) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in changed)})""",
        f"""happened AS (
            INSERT INTO events ({", ".join(rows.EVENT)}) {fenced(rows.EVENT)}
            ON CONFLICT (run_id, number, seq) DO NOTHING)""",
    ]
    if evidence:
        stored = "SELECT 1 FROM evidence e WHERE (e.run_id, e.number, e.at, e.body) = (w.run_id, w.number, w.at, w.body)"
        parts.append(f"proven AS (INSERT INTO evidence ({', '.join(_EVIDENCE)}) {fenced(_EVIDENCE)} WHERE NOT EXISTS ({stored}))")
    if outdated:
        parts.append(
            f"capped AS (DELETE FROM events e USING ({fenced(_OUTDATED)}) AS o "
            "WHERE e.run_id = o.run_id AND e.number = o.number AND e.seq = o.seq)"
        )
    return f"WITH {', '.join(parts)} SELECT run_id, shard, epoch FROM fence"
