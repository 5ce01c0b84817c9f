"""Rows of the tables, in the columns that all SQL stores share: one function from a record to its row, one back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import cattrs.preconf.orjson
import orjson

from orchestrator.errors import StoreError
from orchestrator.lifecycle.events import Event, EventKind
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.storage.records import Checkpoint, Shard

Row: TypeAlias = Sequence[object]
"""Values of the columns, in order."""
Stored: TypeAlias = Iterable[Any]
"""The same, as the library of a database returns them."""

RUN = ("id", "workflow", "status", "created_at", "updated_at", "reuse", "body")
SHARD = ("run_id", "shard", "of", "epoch", "owner", "lease_until", "elapsed", "done", "stop_epoch")
CHECKPOINT = ("run_id", "number", "status", "position", "updated_at", "not_before", "effects", "body")
EVENT = (
    "run_id", "number", "seq", "kind", "at", "state", "handler", "attempt", "outcome", "target", "duration_s", "error",
    "failure", "code",
)  # fmt: skip

_converter = cattrs.preconf.orjson.make_converter()


def run_row(run: RunRecord) -> Row:
    return (run.id, run.workflow, run.status.value, run.created_at, run.updated_at, run.scenario.reuse, run_body(run))


def run_body(run: RunRecord) -> bytes:
    """The column that holds the whole record; ``status`` and ``updated_at`` have columns that change without it."""
    return _converter.dumps(run)


def run_from_row(row: Stored) -> RunRecord:
    """Raises ``StoreError``."""
    run_id, _, status, _, updated_at, _, body = row
    try:
        return attrs.evolve(_converter.loads(body, RunRecord), status=RunStatus(status), updated_at=updated_at)
    except Exception as error:
        raise StoreError(
            f"the record of run {run_id} cannot be read: it is damaged, or of another version of this program"
        ) from error


def shard_row(shard: Shard) -> Row:
    return (
        shard.run_id, shard.index, shard.of, shard.epoch, shard.owner, shard.lease_until, shard.elapsed, shard.done,
        shard.stop_epoch,
    )  # fmt: skip


def shard_from_row(row: Stored) -> Shard:
    run_id, index, of, epoch, owner, lease_until, elapsed, done, stop_epoch = row
    return Shard(
        run_id=run_id,
        index=index,
        of=of,
        epoch=epoch,
        owner=owner,
        lease_until=lease_until,
        elapsed=elapsed,
        done=bool(done),
        stop_epoch=stop_epoch,
    )


def checkpoint_row(row: Checkpoint) -> Row:
    """Without the evidence, which has a table."""
    effects = None if row.effects is None else orjson.dumps(row.effects).decode()
    return (row.run_id, row.number, row.status._value_, row.position, row.updated_at, row.not_before, effects, row.body)


def checkpoint_from_row(row: Stored) -> Checkpoint:
    run_id, number, status, position, updated_at, not_before, effects, body = row
    return Checkpoint(
        run_id=run_id,
        number=number,
        status=Status(status),
        position=position,
        updated_at=updated_at,
        not_before=not_before,
        effects=None if effects is None else tuple(orjson.loads(effects)),
        body=body,
    )


def event_row(e: Event) -> Row:
    return (
        e.run_id, e.number, e.seq, e.kind._value_, e.at, e.state, e.handler, e.attempt, e.outcome, e.target, e.duration_s, e.error,
        e.failure, e.code,
    )  # fmt: skip


def event_from_row(row: Stored) -> Event:
    data = dict(zip(EVENT, row, strict=True))
    return Event(**{**data, "kind": EventKind(data["kind"])})


def fingerprints_json(fingerprints: Mapping[str, str]) -> str:
    return orjson.dumps(dict(fingerprints)).decode()


def effects_counted(rows: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    """Add up (stored effects of an instance, number of such instances) by kind."""
    found: dict[str, int] = {}
    for effects, count in rows:
        for kind in orjson.loads(effects):
            found[kind] = found.get(kind, 0) + count
    return found
