"""The contract of a store: where runs, shards, checkpoints and their history live.

Rules, for whoever writes a new one:

* **Fencing.** A shard has an epoch, raised by every claim. Whatever is written for a shard carries the epoch of
  the writer, which is compared *in the transaction that writes*; an older one raises ``StaleEpochError`` and
  writes nothing of that caller.
* **One transaction per save.** A checkpoint and its events are stored together or not at all, and durable (power
  loss included) when ``save`` returns. Concurrent saves may share a transaction; one that fails does not take
  others with it unless the store itself has failed.
* **No secrets.** A store sees only sealed ones; every column beside ``body`` is in the clear and needs no key.
* **Cancellation.** Methods may be cancelled; what was asked for has then happened wholly or not at all. A ``save``
  is finished first: when it raises the cancellation, the checkpoint is stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import attrs

from orchestrator.errors import LeaseHeldError
from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.storage.lease import Owner, is_gone

HISTORY_HEAD = 100
HISTORY_TAIL = 100
"""Events of an instance that are kept: how it began, and the latest; a soak would fill the disk with those between."""


@attrs.frozen(kw_only=True)
class Shard:
    """A part of a run, and who drives it: the instances whose number leaves ``index`` as the remainder. Times are Unix seconds."""

    run_id: str
    index: int = 0
    of: int = 1
    """How many shards the run has."""
    epoch: int = 0
    owner: str | None = None
    """Stored form of an :class:`~orchestrator.storage.lease.Owner`."""
    lease_until: float = 0.0
    elapsed: float = 0.0
    """Seconds of the scenario that were spent on it."""
    done: bool = False
    """Nothing is left to do: every instance that was admitted has a terminal status, and no other one will be."""

    def owns(self, number: int) -> bool:
        """Whether this instance is in it."""
        return number % self.of == self.index


@attrs.frozen(kw_only=True, slots=False)
class Checkpoint:
    """The stored form of an instance: what lists need in the clear, and the whole in ``body``."""

    run_id: str
    number: int
    status: Status
    position: str
    updated_at: float
    not_before: float | None
    body: bytes
    effects: tuple[str, ...] | None = None
    """Kinds of the effects that exist, one for each; ``None``: decode the checkpoint to find out."""
    evidence: bytes | None = None
    """What was said before it failed just now, sealed; added to what is stored of that."""


@attrs.frozen
class Save:
    """A checkpoint to store, new or over the older one, with the events that led to it."""

    shard: Shard
    checkpoint: Checkpoint
    events: Sequence[Event]


@attrs.frozen
class StoredWindow:
    """A window of statistics as a process has stored it; ``seq`` counts its windows."""

    shard: int
    epoch: int
    seq: int
    body: bytes


class WallClock(Protocol):
    """The clock that a store measures leases with. A test may bring its own."""

    def now(self) -> float:
        """Unix time in seconds."""


def claimed(shard: Shard, owner: Owner, lease_s: float, now: float) -> Shard:
    """The shard after ``owner`` has claimed it: its epoch is raised.

    A lease that has not run out is respected unless the process that holds it is gone.

    Raises:
        LeaseHeldError: Another process drives the shard.
    """
    if shard.owner is not None and shard.lease_until > now:
        holder = Owner.loads(shard.owner)
        if not is_gone(holder):
            raise LeaseHeldError(shard.run_id, str(holder), shard.lease_until, now)
    return attrs.evolve(shard, epoch=shard.epoch + 1, owner=owner.dumps(), lease_until=now + lease_s, done=False)


def released(shard: Shard, now: float, *, done: bool) -> Shard:
    """The shard after its owner has given it up."""
    return attrs.evolve(shard, owner=None, lease_until=now, done=done)


def run_status(shards: Sequence[Shard], meanwhile: RunStatus, now: float) -> RunStatus:
    """The status of a run after a process has given its shards up.

    Args:
        shards: All shards of the run.
        meanwhile: The status while somebody drives it.
    """
    if all(shard.done for shard in shards):
        return RunStatus.FINISHED
    if any(shard.owner is not None and shard.lease_until > now and not is_gone(Owner.loads(shard.owner)) for shard in shards):
        return meanwhile
    return RunStatus.INTERRUPTED if meanwhile is RunStatus.RUNNING else meanwhile


def outdated_event(seq: int) -> int | None:
    """The event that an instance's history loses when event ``seq`` is added; ``None``: it loses none."""
    return seq - HISTORY_TAIL if seq > HISTORY_HEAD + HISTORY_TAIL else None


class Store(ABC):
    """See the module's rules. Every method raises ``StoreError`` when the store cannot be used."""

    where: str
    """Names the store in messages."""
    key: bytes | None = None
    """The key that seals secrets in a store which ends with its process; ``None``: the user's key, which outlives it."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything; pending saves are finished first."""

    async def rescue(self) -> str | None:
        """After a ``StoreLostError``: copy all that is stored to a new place, and return its URL; ``None``: there is none."""
        return None

    @abstractmethod
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
        """Store a new run with its shards, and the fingerprints of its definition under ``run.definition``.

        Args:
            shards: How many.
            claim: Those that ``owner`` claims in the same transaction, before anybody else learns of the run.

        Returns:
            The claimed shards.
        """

    @abstractmethod
    async def run(self, run_id: str) -> RunRecord:
        """One run. Raises ``UnknownRunError``."""

    @abstractmethod
    async def runs(self, limit: int = 100, statuses: Collection[RunStatus] | None = None) -> list[RunRecord]:
        """The newest runs with one of these statuses, newest first; ``None``: with any status."""

    @abstractmethod
    async def set_run_status(self, shard: Shard, status: RunStatus) -> None:
        """Fenced by ``shard``."""

    @abstractmethod
    async def set_reports(self, run_id: str, reports: Mapping[str, str]) -> None:
        """Replace the reports of a run. Not fenced: no driver reads or writes them."""

    @abstractmethod
    async def fingerprints(self, definition: str) -> Mapping[str, str]:
        """State → fingerprint, of a definition that a run was started or resumed under; empty if unknown."""

    @abstractmethod
    async def add_fingerprints(self, definition: str, fingerprints: Mapping[str, str]) -> None:
        """Remember another definition; nothing happens if it is known."""

    @abstractmethod
    async def shards(self, run_id: str) -> list[Shard]:
        """All shards of a run, in order."""

    @abstractmethod
    async def claim(self, run_id: str, index: int, owner: Owner, lease_s: float) -> Shard:
        """Take a shard, by the rule of :func:`claimed`, in the transaction that reads it.

        Raises:
            LeaseHeldError: Another process drives it.
            UnknownRunError: There is no such shard.
        """

    @abstractmethod
    async def renew(self, shard: Shard, lease_s: float) -> Shard:
        """Extend the lease. Raises ``StaleEpochError`` if the shard was claimed by another since."""

    @abstractmethod
    async def release(self, shards: Sequence[Shard], done: Collection[int] = (), meanwhile: RunStatus | None = None) -> RunStatus:
        """Give the shards of a run up, keeping their epochs; one that was claimed by another since stays as it is.

        Args:
            done: Indices of those that have nothing left to do.
            meanwhile: Set the status of the run by :func:`run_status`, in the same transaction; ``None``: leave it.

        Returns:
            The status of the run.
        """

    @abstractmethod
    async def save(self, save: Save) -> None:
        """Store a checkpoint and add its events; durable on return.

        Raises:
            StaleEpochError: The shard was claimed by another since.
        """

    @abstractmethod
    async def save_all(self, shard: Shard, saves: Sequence[Save], status: RunStatus) -> None:
        """Store checkpoints with their events, and the status of the run, in one transaction: all of it, or nothing.

        Raises:
            StaleEpochError: The shard was claimed by another since.
        """

    @abstractmethod
    async def load(
        self,
        run_id: str,
        statuses: Collection[Status] | None = None,
        *,
        after: int = -1,
        limit: int = 500,
        shard: Shard | None = None,
    ) -> list[Checkpoint]:
        """Checkpoints in order of number, from the one after ``after``.

        Args:
            statuses: ``None``: of any status.
            shard: ``None``: of the whole run.
        """

    @abstractmethod
    async def unadmitted(self, shard: Shard, total: int) -> list[range]:
        """The numbers below ``total`` that the shard owns and of which there is no checkpoint; in order."""

    @abstractmethod
    async def counts(self, run_id: str) -> Mapping[tuple[Status, str], int]:
        """How many admitted instances stand where: (status, position) → number."""

    @abstractmethod
    async def effects(self, run_id: str) -> Mapping[str, int]:
        """Kind → how many effects exist of it, over all checkpoints that say so."""

    @abstractmethod
    async def uncounted(self, run_id: str, *, after: int = -1, limit: int = 500) -> list[Checkpoint]:
        """Checkpoints that do not say which effects exist, in order of number, from the one after ``after``."""

    @abstractmethod
    async def oldest(self, run_id: str) -> Mapping[str, tuple[int, float]]:
        """Of the instances that have not ended, the one that has stood longest where it is: position → its number, and
        the Unix time of its checkpoint."""

    @abstractmethod
    async def save_pause(self, shard: Shard, group: str, until: float) -> None:
        """Store until when (Unix time) no attempt of a rate group may start. Fenced by ``shard``."""

    @abstractmethod
    async def pauses(self, run_id: str) -> Mapping[str, float]:
        """Rate group → the Unix time at which its latest pause ends, or has ended."""

    @abstractmethod
    async def save_statistics(
        self, shards: Sequence[Shard], rows: Mapping[int, bytes], gone: Collection[int], elapsed: float
    ) -> None:
        """Store windows of statistics (new or over the older ones) by their ``seq``, drop those in ``gone``, and note the seconds
        of the scenario that were spent on these shards. The windows of a process are kept under the first of its shards.

        Raises:
            StaleEpochError: One of the shards was claimed by another since.
        """

    @abstractmethod
    async def statistics(self, run_id: str) -> list[StoredWindow]:
        """All windows of a run, by shard, epoch and ``seq``."""

    @abstractmethod
    async def evidence(self, run_id: str, number: int) -> list[bytes]:
        """The evidence that was saved with checkpoints of an instance, oldest first."""

    @abstractmethod
    async def events(self, run_id: str, number: int) -> list[Event]:
        """The history of an instance, oldest first: its first ``HISTORY_HEAD`` events and its last ``HISTORY_TAIL``."""
