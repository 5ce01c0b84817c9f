"""Queries for runs and the definitions that they were started under."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from sqlite3 import Connection

import attrs
import orjson

from orchestrator.errors import RunExistsError, StoreError, UnknownRunError
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage import rows
from orchestrator.storage.records import Shard
from orchestrator.storage.rules import rows_missing
from orchestrator.storage.sqlite import claims, deleting, inputs

_RUNS = f"SELECT {', '.join(rows.RUN)} FROM runs"


def create(db: Connection, run: RunRecord, fingerprints: Mapping[str, str], made: Sequence[Shard], where: str) -> None:
    if exists(db, run.id) or deleting.is_reserved(db, run.id):
        raise RunExistsError(run.id, where)
    if run.scenario.reuse is not None and not exists(db, run.scenario.reuse):
        raise UnknownRunError(f"run {run.scenario.reuse}", where)
    deleting.clear(db, run.id)
    if run.rows is not None and not inputs.assign(db, run.rows.key, run.id):
        raise StoreError(rows_missing(run.id))
    add_fingerprints(db, run.definition, fingerprints)
    places = ", ".join("?" * len(rows.RUN))
    db.execute(f"INSERT INTO runs ({', '.join(rows.RUN)}) VALUES ({places})", rows.run_row(run))
    claims.insert(db, made)


def exists(db: Connection, run_id: str) -> bool:
    return db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None


def get(db: Connection, run_id: str) -> RunRecord | None:
    row = db.execute(f"{_RUNS} WHERE id = ?", (run_id,)).fetchone()
    return rows.run_from_row(row) if row else None


def set_status(db: Connection, shard: Shard, status: RunStatus, now: float) -> None:
    claims.check_epoch(db, shard)
    claims.set_run_status(db, shard.run_id, status, now)


def set_reports(db: Connection, run_id: str, reports: Mapping[str, str]) -> RunRecord | None:
    run = get(db, run_id)
    if run is not None:
        db.execute("UPDATE runs SET body = ? WHERE id = ?", (rows.run_body(attrs.evolve(run, reports=reports)), run_id))
    return run


def change_scenario(db: Connection, run_id: str, change: Callable[[Scenario], Scenario]) -> RunRecord | None:
    run = get(db, run_id)
    if run is None:
        return None
    run = attrs.evolve(run, scenario=change(run.scenario))
    db.execute("UPDATE runs SET body = ? WHERE id = ?", (rows.run_body(run), run_id))
    return run


def fingerprints(db: Connection, definition: str) -> Mapping[str, str]:
    row = db.execute("SELECT fingerprints FROM definitions WHERE definition = ?", (definition,)).fetchone()
    return orjson.loads(row[0]) if row else {}


def add_fingerprints(db: Connection, definition: str, fingerprints: Mapping[str, str]) -> None:
    db.execute(
        "INSERT OR IGNORE INTO definitions (definition, fingerprints) VALUES (?, ?)",
        (definition, rows.fingerprints_json(fingerprints)),
    )
