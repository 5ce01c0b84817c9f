"""A store that lives as long as its process: for tests, and for embedding without durability."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import anyio.lowlevel
import attrs

from orchestrator.errors import RunExistsError, StoreError, UnknownRunError
from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import RESUMABLE, Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.lease import Owner
from orchestrator.storage.listing import ALL_RUNS, PAGE, RunCursor, RunFilter, RunPage
from orchestrator.storage.memory_transfer import MemoryTransfer
from orchestrator.storage.records import HISTORY_HEAD, HISTORY_TAIL, Checkpoint, Save, Shard, StoredWindow, StoreFacts
from orchestrator.storage.rules import claimed, drivers_of, new_shards, released, rows_missing, run_status
from orchestrator.storage.usage import RunUsage


class MemoryStore(MemoryTransfer):
    """Keeps everything in dictionaries. No method awaits before it has finished, so each is a transaction."""

    where = "memory"

    async def close(self) -> None:
        pass

    async def facts(self) -> StoreFacts:
        return StoreFacts("ends with the process")

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
        reused = run.scenario.reuse
        if run.id in self._runs or run.id in self._imports:
            raise RunExistsError(run.id, self.where)
        if reused is not None and reused not in self._runs:
            raise UnknownRunError(f"run {reused}", self.where)
        if run.rows is not None:
            if run.rows.key not in self._staged:
                raise StoreError(rows_missing(run.id))
            self._staged.discard(run.rows.key)
        self._runs[run.id] = run
        self._instances[run.id] = {}
        made = new_shards(run.id, shards, claim, owner, lease_s, self._clock.now())
        self._shards |= {(run.id, shard.index): shard for shard in made}
        await self.add_fingerprints(run.definition, fingerprints)
        return [shard for shard in made if shard.owner is not None]

    async def add_rows(self, key: str, rows: Mapping[int, bytes], owner: Owner) -> None:
        if key not in self._rows:
            self._staged.add(key)
        self._rows.setdefault(key, {}).update({number: _copied(row) for number, row in rows.items()})

    async def discard_rows(self, key: str) -> None:
        if key in self._staged:
            self._staged.discard(key)
            del self._rows[key]

    async def rows(self, key: str, *, after: int = -1, limit: int = 500) -> list[tuple[int, bytes]]:
        rows = self._rows.get(key, {})
        # Numbers have no gaps, so a page is found without sorting all of them.
        return [(number, rows[number]) for number in range(after + 1, min(after + 1 + limit, len(rows)))]

    async def run(self, run_id: str) -> RunRecord:
        if run_id not in self._runs:
            raise UnknownRunError(f"run {run_id}", self.where)
        return self._runs[run_id]

    async def runs(self, wanted: RunFilter = ALL_RUNS, *, after: RunCursor | None = None, limit: int = PAGE) -> RunPage:
        found = sorted(filter(wanted.accepts, self._runs.values()), key=RunCursor.of, reverse=True)
        behind = [run for run in found if after is None or RunCursor.of(run) < after]
        return RunPage.cut(behind[: limit + 1], limit, len(found))

    async def usage(self, run_id: str) -> RunUsage:
        run = await self.run(run_id)
        return RunUsage(
            run_id=run_id,
            status=run.status,
            drivers=drivers_of(await self.shards(run_id), self._clock.now()),
            with_effects=sum(row.effects != () for row in self._instances[run_id].values()),
            reused_by=tuple(sorted(other.id for other in self._runs.values() if other.scenario.reuse == run_id)),
        )

    async def delete_run(self, run_id: str) -> RunUsage:
        usage = await self.usage(run_id)
        if usage.obstacle() is None:
            run = self._runs.pop(run_id)
            for by_run in (self._instances, self._statistics, self._pauses):
                by_run.pop(run_id, None)
            for by_part in (self._shards, self._events, self._evidence):
                for key in [key for key in by_part if key[0] == run_id]:
                    del by_part[key]
            if run.rows is not None:
                del self._rows[run.rows.key]
        return usage

    async def sweep(self) -> None:
        pass

    async def set_run_status(self, shard: Shard, status: RunStatus) -> None:
        self._current(shard)
        self._runs[shard.run_id] = attrs.evolve(self._runs[shard.run_id], status=status, updated_at=self._clock.now())

    async def set_reports(self, run_id: str, reports: Mapping[str, str]) -> None:
        self._runs[run_id] = attrs.evolve(await self.run(run_id), reports=dict(reports))

    async def ask_to_stop(self, run_id: str) -> int:
        await self.run(run_id)
        driven = [shard for shard in await self.shards(run_id) if shard.owner is not None]
        for shard in driven:
            self._shards[run_id, shard.index] = attrs.evolve(shard, stop_epoch=shard.epoch)
        return len(driven)

    async def change_scenario(self, run_id: str, change: Callable[[Scenario], Scenario]) -> RunRecord:
        run = await self.run(run_id)
        self._runs[run_id] = attrs.evolve(run, scenario=change(run.scenario))
        return self._runs[run_id]

    async def fingerprints(self, definition: str) -> Mapping[str, str]:
        return self._definitions.get(definition, {})

    async def add_fingerprints(self, definition: str, fingerprints: Mapping[str, str]) -> None:
        self._definitions.setdefault(definition, dict(fingerprints))

    async def shards(self, run_id: str) -> list[Shard]:
        return [shard for (run, _), shard in sorted(self._shards.items()) if run == run_id]

    async def claim(self, run_id: str, index: int, owner: Owner, lease_s: float) -> Shard:
        if (run_id, index) not in self._shards:
            raise UnknownRunError(f"shard {index} of run {run_id}", self.where)
        return self._put(claimed(self._shards[run_id, index], owner, lease_s, self._clock.now()))

    async def renew(self, shard: Shard, lease_s: float) -> Shard:
        return self._put(attrs.evolve(self._current(shard), lease_until=self._clock.now() + lease_s))

    async def release(self, shards: Sequence[Shard], done: Collection[int] = (), meanwhile: RunStatus | None = None) -> RunStatus:
        run_id, now = shards[0].run_id, self._clock.now()
        ours = [shard for shard in shards if self._shards[run_id, shard.index].epoch == shard.epoch]
        for shard in ours:
            self._put(released(self._shards[run_id, shard.index], now, done=shard.index in done))
        if ours and meanwhile is not None:
            status = run_status(await self.shards(run_id), meanwhile, now)
            self._runs[run_id] = attrs.evolve(self._runs[run_id], status=status, updated_at=now)
        return self._runs[run_id].status

    async def save(self, save: Save) -> None:
        self._put_in(save)
        # A loop that only saves must still let other tasks run.
        await anyio.lowlevel.cancel_shielded_checkpoint()

    async def save_all(self, shard: Shard, saves: Sequence[Save], status: RunStatus) -> None:
        await self.set_run_status(shard, status)
        for save in saves:
            self._put_in(save)

    async def load(
        self,
        run_id: str,
        statuses: Collection[Status] | None = None,
        *,
        after: int = -1,
        limit: int = 500,
        shard: Shard | None = None,
    ) -> list[Checkpoint]:
        rows = [row for number, row in sorted(self._instances.get(run_id, {}).items()) if number > after]
        return [
            row for row in rows if (statuses is None or row.status in statuses) and (shard is None or shard.owns(row.number))
        ][:limit]

    async def unadmitted(self, shard: Shard, total: int) -> list[range]:
        found, begin = [], shard.index
        for number in sorted(n for n in self._instances.get(shard.run_id, {}) if shard.owns(n) and n < total):
            if number > begin:
                found.append(range(begin, number, shard.of))
            begin = number + shard.of
        return [*found, range(begin, total, shard.of)] if begin < total else found

    async def counts(self, run_id: str) -> Mapping[tuple[Status, str], int]:
        return Counter((row.status, row.position) for row in self._instances.get(run_id, {}).values())

    async def effects(self, run_id: str) -> Mapping[str, int]:
        return Counter(kind for row in self._instances.get(run_id, {}).values() for kind in row.effects or ())

    async def uncounted(self, run_id: str, *, after: int = -1, limit: int = 500) -> list[Checkpoint]:
        return [row for row in await self.load(run_id, after=after, limit=sys.maxsize) if row.effects is None][:limit]

    async def oldest(self, run_id: str) -> Mapping[str, tuple[int, float]]:
        found: dict[str, tuple[int, float]] = {}
        for row in self._instances.get(run_id, {}).values():
            if row.status in RESUMABLE and row.updated_at < found.get(row.position, (0, math.inf))[1]:
                found[row.position] = (row.number, row.updated_at)
        return found

    async def save_pause(self, shard: Shard, group: str, until: float) -> None:
        self._pauses.setdefault(self._current(shard).run_id, {})[group] = until

    async def pauses(self, run_id: str) -> Mapping[str, float]:
        return dict(self._pauses.get(run_id, {}))

    async def save_statistics(
        self, shards: Sequence[Shard], rows: Mapping[int, bytes], gone: Collection[int], elapsed: float
    ) -> None:
        current = [self._current(one) for one in shards]
        for one in current:
            self._put(attrs.evolve(one, elapsed=elapsed))
        shard = shards[0]
        kept = self._statistics.setdefault(shard.run_id, {})
        kept.update({(shard.index, shard.epoch, seq): _copied(body) for seq, body in rows.items()})
        for seq in gone:
            kept.pop((shard.index, shard.epoch, seq), None)

    async def statistics(self, run_id: str) -> list[StoredWindow]:
        return [StoredWindow(*key, body) for key, body in sorted(self._statistics.get(run_id, {}).items())]

    async def evidence(self, run_id: str, number: int) -> list[bytes]:
        return list(self._evidence.get((run_id, number), []))

    async def events(self, run_id: str, number: int) -> list[Event]:
        return list(self._events.get((run_id, number), []))

    def _put_in(self, save: Save) -> None:
        run_id, number = self._current(save.shard).run_id, save.checkpoint.number
        self._instances[run_id][number] = attrs.evolve(save.checkpoint, body=_copied(save.checkpoint.body))
        if save.checkpoint.evidence is not None:
            self._evidence.setdefault((run_id, number), []).append(save.checkpoint.evidence)
        history = self._events.setdefault((run_id, number), [])
        history.extend(save.events)
        del history[HISTORY_HEAD : max(HISTORY_HEAD, len(history) - HISTORY_TAIL)]

    def _put(self, shard: Shard) -> Shard:
        self._shards[shard.run_id, shard.index] = shard
        return shard


def _copied(body: bytes) -> bytes:
    """``body`` in as many bytes as it has: orjson allocates up to 60 times as many."""
    return bytes(memoryview(body))
