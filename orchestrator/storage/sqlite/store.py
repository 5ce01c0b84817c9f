"""The SQLite store: delegates to the queries of each subject."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from orchestrator.clock import SystemClock
from orchestrator.errors import UnknownRunError
from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.base import Store, WallClock
from orchestrator.storage.commits import GroupCommit, ObserveCommit
from orchestrator.storage.lease import Owner
from orchestrator.storage.listing import ALL_RUNS, PAGE, RunCursor, RunFilter, RunPage
from orchestrator.storage.records import Checkpoint, Save, Shard, StoredWindow, StoreFacts
from orchestrator.storage.rules import new_shards
from orchestrator.storage.sqlite import claims, deleting, imports, inputs, instances, listing, measurements, runs, saving
from orchestrator.storage.sqlite.database import Database
from orchestrator.storage.sqlite.schema import MIGRATIONS
from orchestrator.storage.sqlite.writing import BatchWriter
from orchestrator.storage.transfer import PART, RunFrame, RunPart
from orchestrator.storage.usage import RunUsage

T = TypeVar("T")

TURN_S = 0.01
"""Pause between two transactions of a long deletion, in which another process gets the lock."""


class SQLiteStore(Store):
    """See :class:`~orchestrator.storage.base.Store`."""

    def __init__(self, db: Database, clock: WallClock) -> None:
        self.where = db.where
        self._db = db
        self._clock = clock
        self._commits: GroupCommit[Save] = GroupCommit(
            BatchWriter(
                lambda batch, wait: db.commit(partial(saving.write, saves=batch), wait=wait), db.thread, lambda: db.is_shared
            )
        )

    @classmethod
    async def open(cls, path: str | Path, *, create: bool = True, clock: WallClock | None = None) -> SQLiteStore:
        """Open the file, creating it (mode 0600) if necessary."""
        db = await anyio.to_thread.run_sync(partial(Database.open, Path(path), create=create))
        return cls(db, clock or SystemClock())

    def observe_commits(self, observe: ObserveCommit) -> None:
        """See :class:`Store`."""
        self._commits.observe = observe

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._commits.drain()
            await self._db.close()

    async def rescue(self) -> str | None:
        return await self._db.rescue()

    async def facts(self) -> StoreFacts:
        return StoreFacts(f"SQLite {sqlite3.sqlite_version}, synchronous=FULL, schema version {len(MIGRATIONS)}")

    async def create_run(
        self,
        run: RunRecord,
        fingerprints: Mapping[str, str],
        *,
        shards: int = 1,
        claim: Collection[int] = (),
        owner: Owner | None = None,
        lease_s: float = 0.0,
    ) -> list[Shard]:
        made = new_shards(run.id, shards, claim, owner, lease_s, self._clock.now())
        await self._db.write(runs.create, run, fingerprints, made, self.where)
        return [shard for shard in made if shard.owner is not None]

    async def run(self, run_id: str) -> RunRecord:
        return self._known(await self._db.read(runs.get, run_id), f"run {run_id}")

    async def runs(self, wanted: RunFilter = ALL_RUNS, *, after: RunCursor | None = None, limit: int = PAGE) -> RunPage:
        return await self._db.read(listing.page, wanted, after, limit)

    async def usage(self, run_id: str) -> RunUsage:
        return self._known(await self._db.read(deleting.usage, run_id, self._clock.now()), f"run {run_id}")

    async def delete_run(self, run_id: str) -> RunUsage:
        return self._known(await self._db.write(deleting.delete, run_id, self._clock.now()), f"run {run_id}")

    async def sweep(self) -> None:
        while await self._db.write(deleting.sweep, self._clock.now()):  # noqa: ASYNC110  # no task of this process would set an event
            await anyio.sleep(TURN_S)

    async def compact(self) -> int:
        freed = 0
        while pages := await self._db.write(deleting.compact):
            freed += pages
            await anyio.sleep(TURN_S)
        return freed * await self._db.read(deleting.page_size)

    async def add_rows(self, key: str, rows: Mapping[int, bytes], owner: Owner) -> None:
        await self._db.write(inputs.add, key, rows, owner, self._clock.now())

    async def discard_rows(self, key: str) -> None:
        await self._db.write(inputs.abandon, key)
        await self.sweep()
        await self.compact()

    async def rows(self, key: str, *, after: int = -1, limit: int = 500) -> list[tuple[int, bytes]]:
        return await self._db.read(inputs.get, key, after, limit)

    async def set_run_status(self, shard: Shard, status: RunStatus) -> None:
        await self._db.write(runs.set_status, shard, status, self._clock.now())

    async def set_reports(self, run_id: str, reports: Mapping[str, str]) -> None:
        self._known(await self._db.write(runs.set_reports, run_id, reports), f"run {run_id}")

    async def ask_to_stop(self, run_id: str) -> int:
        return self._known(await self._db.write(claims.ask_to_stop, run_id), f"run {run_id}")

    async def change_scenario(self, run_id: str, change: Callable[[Scenario], Scenario]) -> RunRecord:
        return self._known(await self._db.write(runs.change_scenario, run_id, change), f"run {run_id}")

    async def fingerprints(self, definition: str) -> Mapping[str, str]:
        return await self._db.read(runs.fingerprints, definition)

    async def add_fingerprints(self, definition: str, fingerprints: Mapping[str, str]) -> None:
        await self._db.write(runs.add_fingerprints, definition, fingerprints)

    async def shards(self, run_id: str) -> list[Shard]:
        return await self._db.read(claims.all_of, run_id)

    async def claim(self, run_id: str, index: int, owner: Owner, lease_s: float) -> Shard:
        claimed = await self._db.write(claims.claim, run_id, index, owner, lease_s, self._clock)
        return self._known(claimed, f"shard {index} of run {run_id}")

    async def renew(self, shard: Shard, lease_s: float) -> Shard:
        return await self._db.write(claims.renew, shard, lease_s, self._clock)

    async def release(self, shards: Sequence[Shard], done: Collection[int] = (), meanwhile: RunStatus | None = None) -> RunStatus:
        return await self._db.write(claims.release, shards, done, meanwhile, self._clock)

    async def save(self, save: Save) -> None:
        await self._commits.commit(save)

    async def save_all(self, shard: Shard, saves: Sequence[Save], status: RunStatus) -> None:
        await self._db.write(saving.write_all, shard, saves, status, self._clock)

    async def load(
        self,
        run_id: str,
        statuses: Collection[Status] | None = None,
        *,
        after: int = -1,
        limit: int = 500,
        shard: Shard | None = None,
    ) -> list[Checkpoint]:
        return await self._db.read(instances.load, run_id, statuses, after=after, limit=limit, shard=shard)

    async def unadmitted(self, shard: Shard, total: int) -> list[range]:
        return await self._db.read(instances.unadmitted, shard, total)

    async def counts(self, run_id: str) -> Mapping[tuple[Status, str], int]:
        return await self._db.read(instances.counts, run_id)

    async def effects(self, run_id: str) -> Mapping[str, int]:
        return await self._db.read(instances.effects, run_id)

    async def uncounted(self, run_id: str, *, after: int = -1, limit: int = 500) -> list[Checkpoint]:
        return await self._db.read(instances.uncounted, run_id, after, limit)

    async def oldest(self, run_id: str) -> Mapping[str, tuple[int, float]]:
        return await self._db.read(instances.oldest, run_id)

    async def save_pause(self, shard: Shard, group: str, until: float) -> None:
        await self._db.write(measurements.save_pause, shard, group, until)

    async def pauses(self, run_id: str) -> Mapping[str, float]:
        return await self._db.read(measurements.pauses, run_id)

    async def save_statistics(
        self, shards: Sequence[Shard], rows: Mapping[int, bytes], gone: Collection[int], elapsed: float
    ) -> None:
        await self._db.write(measurements.save_windows, shards, rows, gone, elapsed)

    async def statistics(self, run_id: str) -> list[StoredWindow]:
        return await self._db.read(measurements.windows, run_id)

    async def evidence(self, run_id: str, number: int) -> list[bytes]:
        return await self._db.read(instances.evidence, run_id, number)

    async def events(self, run_id: str, number: int) -> list[Event]:
        return await self._db.read(instances.events, run_id, number)

    async def export(self, run_id: str, *, after: int = -1, limit: int = PART) -> RunPart:
        return await self._db.read(imports.export, run_id, after, limit)

    async def begin_import(self, run_id: str, owner: Owner) -> None:
        await self._db.write(imports.begin, run_id, owner, self._clock.now(), self.where)

    async def import_part(self, run_id: str, part: RunPart, owner: Owner) -> None:
        await self._db.write(imports.add, run_id, part, owner)

    async def finish_import(self, frame: RunFrame, owner: Owner) -> None:
        await self._db.write(imports.finish, frame, owner, self.where)

    async def abandon_import(self, run_id: str, owner: Owner) -> None:
        await self._db.write(imports.abandon, run_id, owner)
        await self.sweep()

    def _known(self, found: T | None, wanted: str) -> T:
        if found is None:
            raise UnknownRunError(wanted, self.where)
        return found
