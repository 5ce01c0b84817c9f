"""The tables of a store in memory, and the export and import of runs."""

from __future__ import annotations

import os

import attrs

from orchestrator.clock import SystemClock
from orchestrator.errors import RunExistsError, StaleEpochError, StoreError
from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.base import Store, WallClock
from orchestrator.storage.lease import Owner
from orchestrator.storage.records import Checkpoint, Shard
from orchestrator.storage.rules import copy_missing
from orchestrator.storage.transfer import PART, Evidence, RunFrame, RunPart


class MemoryTransfer(Store):
    """The tables, and the copies of runs from and to other stores. No method awaits before it has finished, as those of the store."""

    def __init__(self, clock: WallClock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.key = os.urandom(32)
        self._runs: dict[str, RunRecord] = {}
        self._definitions: dict[str, dict[str, str]] = {}
        self._shards: dict[tuple[str, int], Shard] = {}
        self._instances: dict[str, dict[int, Checkpoint]] = {}
        self._events: dict[tuple[str, int], list[Event]] = {}
        self._evidence: dict[tuple[str, int], list[bytes]] = {}
        self._statistics: dict[str, dict[tuple[int, int, int], bytes]] = {}
        self._pauses: dict[str, dict[str, float]] = {}
        self._rows: dict[str, dict[int, bytes]] = {}
        self._staged: set[str] = set()
        """Keys of the rows whose run is not stored yet."""
        self._imports: dict[str, list[RunPart]] = {}

    async def export(self, run_id: str, *, after: int = -1, limit: int = PART) -> RunPart:
        rows = await self.load(run_id, after=after, limit=limit)
        return RunPart(
            checkpoints=[attrs.evolve(row, evidence=None) for row in rows],
            events=[event for row in rows for event in await self.events(run_id, row.number)],
            evidence=[
                Evidence(row.number, row.updated_at, body) for row in rows for body in await self.evidence(run_id, row.number)
            ],
        )

    async def begin_import(self, run_id: str, owner: Owner) -> None:
        if run_id in self._runs or run_id in self._imports:
            raise RunExistsError(run_id, self.where)
        self._imports[run_id] = []

    async def import_part(self, run_id: str, part: RunPart, owner: Owner) -> None:
        if run_id not in self._imports:
            raise StoreError(copy_missing(run_id))
        self._imports[run_id].append(part)

    async def finish_import(self, frame: RunFrame, owner: Owner) -> None:
        run = frame.run
        if run.id not in self._imports:
            raise StoreError(copy_missing(run.id))
        parts = self._imports.pop(run.id)
        try:
            await self.create_run(run, {})
        except StoreError:
            self._imports[run.id] = parts
            raise
        self._shards |= {(run.id, shard.index): shard for shard in frame.shards}
        for definition, fingerprints in frame.definitions.items():
            self._definitions[definition] = {**fingerprints, **self._definitions.get(definition, {})}
        self._statistics[run.id] = {(row.shard, row.epoch, row.seq): row.body for row in frame.windows}
        self._pauses[run.id] = dict(frame.pauses)
        for part in parts:
            self._instances[run.id] |= {row.number: row for row in part.checkpoints}
            for event in part.events:
                self._events.setdefault((run.id, event.number), []).append(event)
            for evidence in part.evidence:
                self._evidence.setdefault((run.id, evidence.number), []).append(evidence.body)

    async def abandon_import(self, run_id: str, owner: Owner) -> None:
        self._imports.pop(run_id, None)

    def _current(self, shard: Shard) -> Shard:
        current = self._shards[shard.run_id, shard.index]
        if current.epoch != shard.epoch:
            raise StaleEpochError(shard.run_id, shard.epoch)
        return current
