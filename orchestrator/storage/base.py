"""The contract of a store: it keeps runs, shards, checkpoints and their history.

Rules for every implementation:

* **Fencing.** A shard has an epoch, and every claim raises it. Every write for a shard carries the writer's epoch. The store
  compares it *in the transaction that writes*; an outdated epoch raises ``StaleEpochError`` and writes nothing of that caller.
* **One transaction per save.** A checkpoint and its events are stored together or not at all, and are durable (power
  loss included) when ``save`` returns. Concurrent saves may share a transaction; one that fails does not make the
  others fail unless the store itself has failed.
* **No secrets.** A store sees sealed secrets only. Only rows, and ``body`` and ``evidence`` of a checkpoint, need
  the key; all other columns are in clear text.
* **A run is there as a whole, or not at all.** It appears with its shards and its rows in one transaction, and it disappears
  in one. A store may delete the data of a deleted run afterwards, in parts (``sweep``), so that no other process waits long.
* **Cancellation.** A method may be cancelled; its work is then done completely or not at all. A cancelled ``save``
  finishes first: the checkpoint is stored when it raises the cancellation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.settings import STORE_TIMEOUT_S
from orchestrator.storage.commits import ObserveCommit
from orchestrator.storage.lease import Owner
from orchestrator.storage.listing import ALL_RUNS, PAGE, RunCursor, RunFilter, RunPage
from orchestrator.storage.records import Checkpoint, Save, Shard, StoredWindow, StoreFacts
from orchestrator.storage.transfer import PART, RunFrame, RunPart
from orchestrator.storage.usage import RunUsage


class WallClock(Protocol):
    """The clock that a store measures leases with. Tests can replace it."""

    def now(self) -> float:
        """Unix time in seconds."""


SILENT_S = 1.0
"""Seconds without an answer after which a database counts as silent."""


class Store(ABC):
    """See the module's rules. Every method raises ``StoreError`` when the store cannot be used."""

    where: str
    """Names the store in messages."""
    url: str | None = None
    """The URL with which another process opens the store; ``None``: it belongs to this process."""
    timeout_s: float = STORE_TIMEOUT_S
    """Seconds for which a store that does not answer is awaited."""
    key: bytes | None = None
    """The key that seals secrets in a store that ends with its process; ``None``: the user's key, which outlives the process."""

    @abstractmethod
    async def close(self) -> None:
        """Release all resources, after finishing pending saves."""

    async def rescue(self) -> str | None:
        """After a ``StoreLostError``: copy the stored data to a new place and return its URL; ``None``: not possible."""
        return None

    @property
    def silent_s(self) -> float:
        """Seconds for which the database has not answered work that waits for it; 0: none waits."""
        return 0.0

    def give_up(self) -> bool:
        """Stop waiting for a database that has not answered for a second: work that waits fails now, and later work fails as
        soon as the database does not answer. Returns whether that is so; otherwise nothing changes."""
        return False

    def observe_commits(self, observe: ObserveCommit) -> None:
        """Call ``observe`` after each commit of checkpoints from now on; a store without commits never calls it."""
        return

    @abstractmethod
    async def facts(self) -> StoreFacts:
        """Describe the store for ``doctor``."""

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
            shards: Number of shards.
            claim: Shards that ``owner`` claims in the same transaction, before another process can see the run.

        Returns:
            The claimed shards.

        Raises:
            RunExistsError: There is a run with this id. Nothing is changed.
            UnknownRunError: The run whose instances it reuses was deleted.
            StoreError: The rows that it names were not added, or were deleted meanwhile.
        """

    @abstractmethod
    async def add_rows(self, key: str, rows: Mapping[int, bytes], owner: Owner) -> None:
        """Store sealed rows (number → row) for a run that ``owner`` is about to create, which names this key.

        Rows whose run is not created are deleted by :meth:`discard_rows`, or by :meth:`sweep` if their owner is gone, or has added
        the first one more than ``STAGING_LIMIT_S`` ago.
        """

    @abstractmethod
    async def discard_rows(self, key: str) -> None:
        """Delete rows whose run was not created; those of a stored run stay."""

    @abstractmethod
    async def rows(self, key: str, *, after: int = -1, limit: int = 500) -> list[tuple[int, bytes]]:
        """Return rows with their numbers, in order, starting behind ``after``."""

    @abstractmethod
    async def run(self, run_id: str) -> RunRecord:
        """Return one run. Raises ``UnknownRunError``."""

    @abstractmethod
    async def runs(self, wanted: RunFilter = ALL_RUNS, *, after: RunCursor | None = None, limit: int = PAGE) -> RunPage:
        """Return a page of the runs that ``wanted`` accepts: the newest first, those of the same time by id, highest first.

        Args:
            after: The page starts behind this place; ``None``: with the newest run.
        """

    @abstractmethod
    async def usage(self, run_id: str) -> RunUsage:
        """Return the use of a run: its reasons not to be deleted. Raises ``UnknownRunError``."""

    @abstractmethod
    async def delete_run(self, run_id: str) -> RunUsage:
        """Delete a run with all its data, if nothing needs it.

        The use is read in the transaction that deletes. The run was deleted if the returned one has no obstacle.

        Raises:
            UnknownRunError: There is no such run.
        """

    @abstractmethod
    async def sweep(self) -> None:
        """Delete the data that deleted runs, and starts that never created their run, have left. It may be interrupted."""

    async def compact(self) -> int:
        """Give unused space back to the operating system, without making other processes wait long; returns the bytes."""
        return 0

    @abstractmethod
    async def set_run_status(self, shard: Shard, status: RunStatus) -> None:
        """Set the status of the run. Fenced by ``shard``."""

    @abstractmethod
    async def set_reports(self, run_id: str, reports: Mapping[str, str]) -> None:
        """Replace the report paths of a run. Not fenced: no driver reads or writes them."""

    @abstractmethod
    async def ask_to_stop(self, run_id: str) -> int:
        """Ask the processes that drive a run now to suspend it; they look about once a second.

        The wish belongs to the present claims (:attr:`Shard.stop_epoch`): a later claim does not inherit it.

        Returns:
            The number of shards that were claimed.

        Raises:
            UnknownRunError: There is no such run.
        """

    @abstractmethod
    async def change_scenario(self, run_id: str, change: Callable[[Scenario], Scenario]) -> RunRecord:
        """Replace the scenario of a run, in the transaction that reads it. Not fenced: the processes that drive the run look at it
        about once a second, and the scenario itself says when a change takes effect.

        Args:
            change: The stored scenario → the new one. Its errors are raised here, and nothing is changed.

        Returns:
            The run with its new scenario.

        Raises:
            UnknownRunError: There is no such run.
        """

    @abstractmethod
    async def fingerprints(self, definition: str) -> Mapping[str, str]:
        """State → fingerprint, for a definition that a run was started or resumed under; empty if unknown."""

    @abstractmethod
    async def add_fingerprints(self, definition: str, fingerprints: Mapping[str, str]) -> None:
        """Store the fingerprints of a definition, unless they are known."""

    @abstractmethod
    async def shards(self, run_id: str) -> list[Shard]:
        """Return all shards of a run, in order."""

    @abstractmethod
    async def claim(self, run_id: str, index: int, owner: Owner, lease_s: float) -> Shard:
        """Claim a shard by the rule of :func:`~orchestrator.storage.rules.claimed`, in the transaction that reads it.

        Raises:
            LeaseHeldError: Another process drives it.
            UnknownRunError: The shard does not exist.
        """

    @abstractmethod
    async def renew(self, shard: Shard, lease_s: float) -> Shard:
        """Extend the lease. Raises ``StaleEpochError`` if another process has claimed the shard."""

    @abstractmethod
    async def release(self, shards: Sequence[Shard], done: Collection[int] = (), meanwhile: RunStatus | None = None) -> RunStatus:
        """Release shards of one run and keep their epochs. A shard that another process has claimed stays unchanged.

        Args:
            done: Indices of the finished shards.
            meanwhile: Set the status of the run by :func:`~orchestrator.storage.rules.run_status`, in the same transaction; ``None``: leave it.

        Returns:
            The status of the run.
        """

    @abstractmethod
    async def save(self, save: Save) -> None:
        """Store a checkpoint and append its events; durable on return.

        Raises:
            StaleEpochError: Another process has claimed the shard.
        """

    @abstractmethod
    async def save_all(self, shard: Shard, saves: Sequence[Save], status: RunStatus) -> None:
        """Store checkpoints with their events, and the status of the run, in one transaction: everything or nothing.

        Raises:
            StaleEpochError: Another process has claimed the shard.
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
        """Return checkpoints ordered by number, starting behind ``after``.

        Args:
            statuses: ``None``: any status.
            shard: ``None``: the whole run.
        """

    @abstractmethod
    async def unadmitted(self, shard: Shard, total: int) -> list[range]:
        """The numbers below ``total`` that belong to the shard and have no checkpoint, in order."""

    @abstractmethod
    async def counts(self, run_id: str) -> Mapping[tuple[Status, str], int]:
        """Count the admitted instances: (status, position) → number."""

    @abstractmethod
    async def effects(self, run_id: str) -> Mapping[str, int]:
        """Count the existing effects by kind, over all checkpoints that name theirs."""

    @abstractmethod
    async def uncounted(self, run_id: str, *, after: int = -1, limit: int = 500) -> list[Checkpoint]:
        """Return checkpoints that do not name their effects, ordered by number, starting behind ``after``."""

    @abstractmethod
    async def oldest(self, run_id: str) -> Mapping[str, tuple[int, float]]:
        """For each position the unfinished instance with the oldest checkpoint: position → (number, Unix time of that
        checkpoint)."""

    @abstractmethod
    async def save_pause(self, shard: Shard, group: str, until: float) -> None:
        """Store the Unix time before which no attempt of a rate group may start. Fenced by ``shard``."""

    @abstractmethod
    async def pauses(self, run_id: str) -> Mapping[str, float]:
        """Rate group → the Unix time at which its latest pause ends or ended."""

    @abstractmethod
    async def save_statistics(
        self, shards: Sequence[Shard], rows: Mapping[int, bytes], gone: Collection[int], elapsed: float
    ) -> None:
        """Insert or replace windows of statistics by their ``seq``, delete those in ``gone``, and store the elapsed seconds of the
        scenario on these shards. The windows of a process are stored under the first of its shards.

        Raises:
            StaleEpochError: Another process has claimed one of the shards.
        """

    @abstractmethod
    async def statistics(self, run_id: str) -> list[StoredWindow]:
        """Return all windows of a run, ordered by shard, epoch and ``seq``."""

    @abstractmethod
    async def evidence(self, run_id: str, number: int) -> list[bytes]:
        """Return the evidence stored with checkpoints of an instance, oldest first."""

    @abstractmethod
    async def events(self, run_id: str, number: int) -> list[Event]:
        """The history of an instance, oldest first: its first ``HISTORY_HEAD`` events and its last ``HISTORY_TAIL``."""

    @abstractmethod
    async def export(self, run_id: str, *, after: int = -1, limit: int = PART) -> RunPart:
        """Return instances with their events and evidence, starting behind ``after``; the checkpoints themselves hold no evidence."""

    @abstractmethod
    async def begin_import(self, run_id: str, owner: Owner) -> None:
        """Reserve the id of a run for a copy, which nobody sees before :meth:`finish_import`.

        A copy that is not finished is deleted by :meth:`abandon_import`, or by :meth:`sweep` if its owner is gone, or has begun it
        more than ``STAGING_LIMIT_S`` ago.

        Raises:
            RunExistsError: There is a run with this id, or another copy of it is under way.
        """

    @abstractmethod
    async def import_part(self, run_id: str, part: RunPart, owner: Owner) -> None:
        """Add a part of a copy. Raises ``StoreError`` if the copy was deleted."""

    @abstractmethod
    async def finish_import(self, frame: RunFrame, owner: Owner) -> None:
        """Make the copy a run of this store, with all its parts and the rows that were added under its key.

        Raises:
            UnknownRunError: The run whose instances it reuses is not in this store.
            StoreError: The copy was deleted.
        """

    @abstractmethod
    async def abandon_import(self, run_id: str, owner: Owner) -> None:
        """Delete a copy that was not finished."""
