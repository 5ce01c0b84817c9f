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
from orchestrator.events import Event
from orchestrator.instance import Status
from orchestrator.lease import Owner, is_gone
from orchestrator.run import RunRecord, RunStatus

HISTORY_HEAD = 100
HISTORY_TAIL = 100
"""Events of an instance that are kept: how it began, and the latest; a soak would fill the disk with those between."""


@attrs.frozen(kw_only=True)
class Shard:
    """A contiguous range of a run's instances, and who drives it. Times are Unix seconds."""

    run_id: str
    index: int = 0
    first: int = 0
    count: int
    epoch: int = 0
    owner: str | None = None
    """Stored form of an :class:`~orchestrator.lease.Owner`."""
    lease_until: float = 0.0


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
    return attrs.evolve(shard, epoch=shard.epoch + 1, owner=owner.dumps(), lease_until=now + lease_s)


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
    async def create_run(self, run: RunRecord, shards: Sequence[Shard], fingerprints: Mapping[str, str]) -> None:
        """Store a new run with its shards, and the fingerprints of its definition under ``run.definition``."""

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
    async def release(self, shard: Shard) -> None:
        """Give the shard up, keeping its epoch. Nothing happens if it was claimed by another since."""

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
        self, run_id: str, statuses: Collection[Status] | None = None, *, after: int = -1, limit: int = 500
    ) -> list[Checkpoint]:
        """Checkpoints in order of number, from the one after ``after``; ``None``: of any status."""

    @abstractmethod
    async def unadmitted(self, run_id: str, first: int, count: int) -> list[range]:
        """The numbers from ``first`` on, ``count`` in all, of which there is no checkpoint; in order."""

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
    async def save_statistics(self, shard: Shard, rows: Mapping[int, bytes], gone: Collection[int]) -> None:
        """Store statistics (new or over the older ones) by their place, and drop those in ``gone``. Fenced by ``shard``."""

    @abstractmethod
    async def statistics(self, run_id: str) -> list[bytes]:
        """Everything that was stored of a run's statistics, in order of place."""

    @abstractmethod
    async def evidence(self, run_id: str, number: int) -> list[bytes]:
        """The evidence that was saved with checkpoints of an instance, oldest first."""

    @abstractmethod
    async def events(self, run_id: str, number: int) -> list[Event]:
        """The history of an instance, oldest first: its first ``HISTORY_HEAD`` events and its last ``HISTORY_TAIL``."""
