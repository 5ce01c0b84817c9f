"""The lease keeper: claims the shards that this process drives, renews their leases, and gives them up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import anyio
import attrs

from orchestrator.clock import Clock
from orchestrator.errors import LeaseExpiredError, LeaseHeldError, StaleEpochError, StoreError, StoreLostError
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.share import Share
from orchestrator.storage.base import Store
from orchestrator.storage.lease import Lease, this_process
from orchestrator.storage.records import Shard


class LeaseKeeper:
    """The shards of one run that this process has claimed. All are renewed together, so one deadline holds for all."""

    def __init__(self, store: Store, run_id: str, seconds: float, clock: Clock) -> None:
        self.lease = Lease(run_id, seconds, clock)
        self._held: dict[int, Shard] = {}
        self._of = 1
        self._store = store
        self._run_id = run_id
        self._seconds = seconds
        self._clock = clock
        self._lock = anyio.Lock()
        """Held while leases are renewed: no shard may be handed over meanwhile."""
        self._before: Mapping[int, bool] = {}
        """Shard → whether it was done before this process claimed it."""

    @property
    def shards(self) -> list[Shard]:
        """The shards that are ours, in order."""
        return list(self._held.values())

    def _hold(self, shards: Iterable[Shard]) -> None:
        self._held = {shard.index: shard for shard in shards}
        self._of = next((shard.of for shard in self._held.values()), self._of)

    @property
    def of(self) -> int:
        """Number of shards of the run."""
        return self._of

    @property
    def share(self) -> Share:
        """The part of the run that this process drives; the whole run if it only reads it."""
        return Share(self._held, self._of) if self._held else Share()

    @property
    def left(self) -> int:
        """Shards of the run that were not done when this process claimed its own."""
        return sum(not done for done in self._before.values()) or self._of

    @property
    def holds_rest(self) -> bool:
        """Whether no other process has anything to drive in this run."""
        return len(self._held) >= self.left

    @property
    def elapsed(self) -> float:
        """Seconds of the scenario that passed on our shards."""
        return max((shard.elapsed for shard in self.shards), default=0.0)

    def shard_of(self, number: int) -> Shard:
        """Our shard that owns an instance."""
        return self._held[number % self._of]

    async def create(self, record: RunRecord, fingerprints: Mapping[str, str], shards: int, *, claim: bool) -> None:
        """Store a new run; ``claim``: claim all its shards at once."""
        asked = self.lease.asked()
        self._hold(
            await self._store.create_run(
                record,
                fingerprints,
                shards=shards,
                claim=range(shards) if claim else (),
                owner=this_process(),
                lease_s=self._seconds,
            )
        )
        if self.shards:
            self.lease.confirmed(asked)

    async def claim(self, only: Collection[int] | None, *, all_of_them: bool) -> None:
        """Claim shards of a run.

        Args:
            only: Indices of the wanted shards; ``None``: every free one with work left.
            all_of_them: Claim every shard, done or not, or none.

        Raises:
            LeaseHeldError: Another process drives a wanted shard, or all of them.
            UnknownRunError: The run has no such shard.
        """
        known = await self._store.shards(self._run_id)
        self._before = {shard.index: shard.done for shard in known}
        left = [shard.index for shard in known if not shard.done] or [shard.index for shard in known]
        wanted = sorted(self._before if all_of_them else left if only is None else only)
        held: LeaseHeldError | None = None
        asked = self.lease.asked()
        for index in wanted:
            try:
                self._hold([*self.shards, await self._store.claim(self._run_id, index, this_process(), self._seconds)])
            except LeaseHeldError as error:
                held = held or error
        if held is not None and (not self.shards or all_of_them or only is not None):
            await self.give_up()
            raise held
        self.lease.confirmed(asked)

    async def hand_over(self, indices: Collection[int]) -> None:
        """Release shards for other processes, which continue them; the status of the run stays."""
        async with self._lock:
            given = [shard for shard in self.shards if shard.index in indices]
            self._hold([shard for shard in self.shards if shard.index not in indices])
            if given:
                await self._store.release(given)

    async def take_back(self) -> None:
        """Claim every shard that is not done and that no process drives."""
        for shard in await self._store.shards(self._run_id):
            if shard.done or shard.index in self._held:
                continue
            async with self._lock:
                asked = self.lease.asked()
                try:
                    claimed = await self._store.claim(self._run_id, shard.index, this_process(), self._seconds)
                except LeaseHeldError:
                    continue
                self._hold(sorted([*self.shards, claimed], key=lambda one: one.index))
                self.lease.confirmed(asked)

    async def give_up(self) -> None:
        """Release the shards in their state before the claim."""
        if self.shards:
            await self._store.release(self.shards, [index for index, done in self._before.items() if done])
            self._hold(())

    async def release(self, done: Collection[int], meanwhile: RunStatus) -> RunStatus:
        """Release the shards; see :meth:`Store.release`."""
        self.lease.check()
        shards = self.shards
        self._hold(())
        return await self._store.release(shards, done, meanwhile)

    async def keep(self, fail: Callable[[Exception], None]) -> None:
        """Renew the leases until cancelled.

        Args:
            fail: Called when this process must stop: another process has claimed a shard, the store is lost, or the lease
                has expired.
        """
        while True:
            await self._clock.sleep(self._seconds / 3)
            try:
                async with self._lock:
                    await self._renew()
            except (StaleEpochError, StoreLostError) as error:
                fail(error)
            except StoreError:
                # Retry until the lease has expired; the drivers then stop by themselves.
                try:
                    self.lease.check()
                except LeaseExpiredError as error:
                    fail(error)

    async def _renew(self) -> None:
        asked = self.lease.asked()
        self._hold([attrs.evolve(await self._store.renew(shard, self._seconds), elapsed=shard.elapsed) for shard in self.shards])
        if self.shards:
            self.lease.confirmed(asked)
