"""The PostgreSQL store: delegates to the queries of each subject."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import anyio

from orchestrator.errors import UnknownRunError
from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.base import SILENT_S, Store, WallClock
from orchestrator.storage.commits import GroupCommit, ObserveCommit
from orchestrator.storage.lease import Owner
from orchestrator.storage.listing import ALL_RUNS, PAGE, RunCursor, RunFilter, RunPage
from orchestrator.storage.postgresql import claims, deleting, imports, inputs, instances, measurements, opening, runs, saving
from orchestrator.storage.postgresql.address import Address
from orchestrator.storage.postgresql.facts import facts
from orchestrator.storage.postgresql.problems import explained
from orchestrator.storage.postgresql.session import Link, Session
from orchestrator.storage.records import Checkpoint, Save, Shard, StoredWindow, StoreFacts
from orchestrator.storage.rules import new_shards
from orchestrator.storage.transfer import PART, RunFrame, RunPart
from orchestrator.storage.usage import RunUsage

T = TypeVar("T")


class PostgreSQLStore(Store):
    """See :class:`~orchestrator.storage.base.Store`. One connection writes, another one reads, so that no reader delays a
    checkpoint. Leases are measured with the clock of the database."""

    def __init__(self, writer: Session, reader: Session) -> None:
        self.where = writer.where
        self._writer = writer
        self._reader = reader
        self._commits: GroupCommit[Save] = GroupCommit(saving.BatchWriter(writer))

    @classmethod
    async def open(cls, url: str, *, create: bool = True, clock: WallClock | None = None, timeout_s: float) -> PostgreSQLStore:
        """Connect, and bring our schema up to date.

        Args:
            clock: Measures leases; ``None``: the clock of the database.
            timeout_s: How long a server that does not answer is awaited. One that does not answer now is an error.
        """
        address = Address.parse(url, os.environ)
        writer = Session(address, timeout_s, clock)
        try:
            await opening.prepare(await writer.open(), address, create=create)
        except Exception as error:
            await writer.close()
            raise explained(writer.where, error) from error
        return cls(writer, Session(address, timeout_s, clock, writer.outage))

    @classmethod
    async def exists(cls, url: str) -> bool:
        """Whether the schema is there."""
        address = Address.parse(url, os.environ)
        session = Session(address, address.connect_limit_s, None)
        try:
            return await opening.version(await session.open(), address.schema) is not None
        finally:
            await session.close()

    @property
    def silent_s(self) -> float:
        return max(self._writer.silent_s, self._reader.silent_s)

    def give_up(self) -> bool:
        if self.silent_s < SILENT_S:
            return False
        self._writer.outage.give_up()
        self._writer.interrupt()
        self._reader.interrupt()
        return True

    def observe_commits(self, observe: ObserveCommit) -> None:
        """See :class:`Store`."""
        self._commits.observe = observe

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._commits.drain()
            await self._writer.close()
            await self._reader.close()

    async def facts(self) -> StoreFacts:
        return await self._reader.read(facts)

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
        made = new_shards(run.id, shards, claim, owner, lease_s, await self._writer.read(Link.now))
        await self._writer.transaction(runs.create, run, fingerprints, made, self.where)
        return [shard for shard in made if shard.owner is not None]

    async def run(self, run_id: str) -> RunRecord:
        return self._known(await self._reader.read(runs.get, run_id), f"run {run_id}")

    async def runs(self, wanted: RunFilter = ALL_RUNS, *, after: RunCursor | None = None, limit: int = PAGE) -> RunPage:
        return await self._reader.read(runs.page, wanted, after, limit)

    async def usage(self, run_id: str) -> RunUsage:
        return self._known(await self._reader.transaction(deleting.usage, run_id), f"run {run_id}")

    async def delete_run(self, run_id: str) -> RunUsage:
        return self._known(await self._writer.transaction(deleting.Deletion(run_id)), f"run {run_id}")

    async def sweep(self) -> None:
        while await self._writer.transaction(deleting.sweep):
            pass

    async def add_rows(self, key: str, rows: Mapping[int, bytes], owner: Owner) -> None:
        await self._writer.transaction(inputs.add, key, rows, owner)

    async def discard_rows(self, key: str) -> None:
        await self._writer.transaction(inputs.abandon, key)
        await self.sweep()

    async def rows(self, key: str, *, after: int = -1, limit: int = 500) -> list[tuple[int, bytes]]:
        return await self._reader.read(inputs.get, key, after, limit)

    async def set_run_status(self, shard: Shard, status: RunStatus) -> None:
        await self._writer.transaction(runs.set_status, shard, status)

    async def set_reports(self, run_id: str, reports: Mapping[str, str]) -> None:
        self._known(await self._writer.transaction(runs.set_reports, run_id, reports), f"run {run_id}")

    async def ask_to_stop(self, run_id: str) -> int:
        return self._known(await self._writer.transaction(claims.ask_to_stop, run_id), f"run {run_id}")

    async def change_scenario(self, run_id: str, change: Callable[[Scenario], Scenario]) -> RunRecord:
        return self._known(await self._writer.transaction(runs.change_scenario, run_id, change), f"run {run_id}")

    async def fingerprints(self, definition: str) -> Mapping[str, str]:
        return await self._reader.read(runs.fingerprints, definition)

    async def add_fingerprints(self, definition: str, fingerprints: Mapping[str, str]) -> None:
        await self._writer.write(runs.add_fingerprints, definition, fingerprints)

    async def shards(self, run_id: str) -> list[Shard]:
        return await self._reader.read(claims.all_of, run_id)

    async def claim(self, run_id: str, index: int, owner: Owner, lease_s: float) -> Shard:
        claimed = await self._writer.write(claims.Claim(run_id, index, owner, lease_s))
        return self._known(claimed, f"shard {index} of run {run_id}")

    async def renew(self, shard: Shard, lease_s: float) -> Shard:
        return await self._writer.write(claims.renew, shard, lease_s)

    async def release(self, shards: Sequence[Shard], done: Collection[int] = (), meanwhile: RunStatus | None = None) -> RunStatus:
        return await self._writer.transaction(claims.release, shards, done, meanwhile)

    async def save(self, save: Save) -> None:
        await self._commits.commit(save)

    async def save_all(self, shard: Shard, saves: Sequence[Save], status: RunStatus) -> None:
        await self._writer.transaction(saving.write_all, shard, saves, status)

    async def load(
        self,
        run_id: str,
        statuses: Collection[Status] | None = None,
        *,
        after: int = -1,
        limit: int = 500,
        shard: Shard | None = None,
    ) -> list[Checkpoint]:
        return await self._reader.read(instances.load, run_id, statuses, after=after, limit=limit, shard=shard)

    async def unadmitted(self, shard: Shard, total: int) -> list[range]:
        return await self._reader.read(instances.unadmitted, shard, total)

    async def counts(self, run_id: str) -> Mapping[tuple[Status, str], int]:
        return await self._reader.read(instances.counts, run_id)

    async def effects(self, run_id: str) -> Mapping[str, int]:
        return await self._reader.read(instances.effects, run_id)

    async def uncounted(self, run_id: str, *, after: int = -1, limit: int = 500) -> list[Checkpoint]:
        return await self._reader.read(instances.uncounted, run_id, after, limit)

    async def oldest(self, run_id: str) -> Mapping[str, tuple[int, float]]:
        return await self._reader.read(instances.oldest, run_id)

    async def save_pause(self, shard: Shard, group: str, until: float) -> None:
        await self._writer.transaction(measurements.save_pause, shard, group, until)

    async def pauses(self, run_id: str) -> Mapping[str, float]:
        return await self._reader.read(measurements.pauses, run_id)

    async def save_statistics(
        self, shards: Sequence[Shard], rows: Mapping[int, bytes], gone: Collection[int], elapsed: float
    ) -> None:
        await self._writer.transaction(measurements.save_windows, shards, rows, gone, elapsed)

    async def statistics(self, run_id: str) -> list[StoredWindow]:
        return await self._reader.read(measurements.windows, run_id)

    async def evidence(self, run_id: str, number: int) -> list[bytes]:
        return await self._reader.read(instances.evidence, run_id, number)

    async def events(self, run_id: str, number: int) -> list[Event]:
        return await self._reader.read(instances.events, run_id, number)

    async def export(self, run_id: str, *, after: int = -1, limit: int = PART) -> RunPart:
        return await self._reader.read(imports.export, run_id, after, limit)

    async def begin_import(self, run_id: str, owner: Owner) -> None:
        await self._writer.transaction(imports.begin, run_id, owner, self.where)

    async def import_part(self, run_id: str, part: RunPart, owner: Owner) -> None:
        await self._writer.transaction(imports.add, run_id, part, owner)

    async def finish_import(self, frame: RunFrame, owner: Owner) -> None:
        await self._writer.transaction(imports.finish, frame, owner, self.where)

    async def abandon_import(self, run_id: str, owner: Owner) -> None:
        await self._writer.transaction(imports.abandon, run_id, owner)
        await self.sweep()

    def _known(self, found: T | None, wanted: str) -> T:
        if found is None:
            raise UnknownRunError(wanted, self.where)
        return found
