"""Reads a run from a store: its instances, its settings, its status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Generic

import attrs
import cattrs

from orchestrator.definition.state import C, S
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import CheckpointError, ConfigurationError, EncryptionKeyError
from orchestrator.lifecycle.instance import RESUMABLE, Instance, Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.storage.base import Checkpoint, Shard, Store
from orchestrator.storage.checkpoint import Codec, make_converter, opened, stored_definition
from orchestrator.storage.encryption import Vault

PAGE = 500
"""Checkpoints read at once."""


@attrs.frozen(kw_only=True)
class RunResult:
    """The status of a run when its driver stops."""

    run_id: str
    status: RunStatus
    counts: Mapping[Status, int]
    """Instances by status; those not started yet are ``PENDING``."""
    part_done: bool = False
    """Whether this process has finished its shards; the run may go on in other processes."""
    observer_failures: tuple[str, ...] = ()
    """For each observer that raised an exception: which one, on which event, and the exception. It was switched off."""

    @property
    def interrupted(self) -> bool:
        """Whether the run is unfinished."""
        return self.status is not RunStatus.FINISHED

    def of(self, *statuses: Status) -> int:
        """How many instances have one of these statuses."""
        return sum(self.counts.get(status, 0) for status in statuses)

    @property
    def total(self) -> int:
        """Number of instances."""
        return sum(self.counts.values())


def check_key(record: RunRecord, vault: Vault) -> None:
    """Raise ``EncryptionKeyError`` if the run was encrypted with another key."""
    if record.key_id != vault.key_id:
        raise EncryptionKeyError(
            f"run {record.id} was encrypted with the key {record.key_id}, but {vault.source} holds the key {vault.key_id}: "
            "set ORCHESTRATOR_KEY to the key it was started with, or put that key file back"
        )


def stored_settings(workflow: Workflow[C, S], record: RunRecord, vault: Vault) -> Any:
    """The settings that a run was started with.

    Raises:
        EncryptionKeyError: They were encrypted with another key.
    """
    check_key(record, vault)
    data = opened(record.settings["workflow"], vault, record.id.encode())
    if not isinstance(workflow.settings, type):
        return None
    try:
        return make_converter().structure(data, workflow.settings)
    except cattrs.BaseValidationError as error:
        problems = "; ".join(cattrs.transform_error(error))
        raise ConfigurationError(f"the settings of run {record.id} do not fit this version: {problems}") from error


async def run_of(workflow: Workflow[Any, Any], store: Store, run_id: str) -> RunRecord:
    """A run of this workflow. Raises ``UnknownRunError``, or ``ConfigurationError`` for one of another workflow."""
    record = await store.run(run_id)
    if record.workflow != workflow.name:
        raise ConfigurationError(f"run {run_id} is one of the workflow {record.workflow!r}, not of {workflow.name!r}")
    return record


async def load_instance(workflow: Workflow[C, S], store: Store, vault: Vault, run_id: str, number: int) -> Instance[C] | None:
    """A stored instance; ``None`` if it was not started."""
    rows = await store.load(run_id, after=number - 1, limit=1)
    if not rows or rows[0].number != number:
        return None
    return await Reader(workflow, store, vault).decode(rows[0])


async def usable_instances(workflow: Workflow[C, S], store: Store, vault: Vault, run_id: str) -> list[int]:
    """The instances that a run kept, for another run to reuse.

    Raises:
        ConfigurationError: There are none, or the run is one of another workflow.
    """
    record = await run_of(workflow, store, run_id)
    if record.scenario.reuse is not None:
        raise ConfigurationError(f"run {run_id} reused the instances of {record.scenario.reuse}: name that run instead")
    check_key(record, vault)
    kept = Reader(workflow, store, vault).instances(run_id, [Status.COMPLETED])
    found = [instance.number async for instance in kept if instance.trail]
    if not found:
        raise ConfigurationError(f"run {run_id} has no completed instance that was kept; start it with --on-success keep")
    return found


async def result_of(store: Store, record: RunRecord, *, everything_admitted: bool = False) -> RunResult:
    """The status of a run, from its stored instances and its record.

    Args:
        everything_admitted: The scenario starts no more instances, although the record is not finished.
    """
    counts: dict[Status, int] = {}
    for (status, _), number in (await store.counts(record.id)).items():
        counts[status] = counts.get(status, 0) + number
    unfinished = any(counts.get(status) for status in RESUMABLE)
    total = record.scenario.total
    if total is not None and (pending := total - sum(counts.values())) > 0:
        counts[Status.PENDING] = pending
    admitted = everything_admitted or record.status is RunStatus.FINISHED or (total is not None and Status.PENDING not in counts)
    if record.status in {RunStatus.CLEANING_UP, RunStatus.RETRYING}:
        stands: RunStatus = record.status
    else:
        stands = RunStatus.INTERRUPTED if unfinished or not admitted else RunStatus.FINISHED
    return RunResult(run_id=record.id, status=stands, counts=counts)


class Reader(Generic[C]):
    """Decodes checkpoints; each definition that they name is read once."""

    def __init__(self, workflow: Workflow[C, Any], store: Store, vault: Vault) -> None:
        self.codec = Codec(workflow, vault)
        self._store = store
        self._definitions: dict[str, Mapping[str, str]] = {}

    async def decode(self, row: Checkpoint) -> Instance[C]:
        definition = stored_definition(row)
        if definition not in self._definitions:
            self._definitions[definition] = await self._store.fingerprints(definition)
        return self.codec.decode(row, self._definitions)

    async def instances(
        self,
        run_id: str,
        statuses: Iterable[Status] | None,
        unreadable: Callable[[CheckpointError], None] | None = None,
        *,
        shard: Shard | None = None,
    ) -> AsyncIterator[Instance[C]]:
        """The instances of a run in order.

        Args:
            unreadable: Called for a checkpoint that cannot be decoded with the key of the run; it is skipped. ``None``: raise.
        """
        wanted, last = frozenset(Status if statuses is None else statuses), -1
        while rows := await self._store.load(run_id, wanted, after=last, limit=PAGE, shard=shard):
            for row in rows:
                try:
                    instance = await self.decode(row)
                except (CheckpointError, EncryptionKeyError) as error:
                    if unreadable is None:
                        raise
                    unreadable(_unreadable(error, row))
                else:
                    yield instance
            last = rows[-1].number

    async def uncounted(self, run_id: str) -> AsyncIterator[Instance[C]]:
        """The instances whose effects are not counted in the store, in order."""
        last = -1
        while rows := await self._store.uncounted(run_id, after=last, limit=PAGE):
            for row in rows:
                yield await self.decode(row)
            last = rows[-1].number


def _unreadable(error: CheckpointError | EncryptionKeyError, row: Checkpoint) -> CheckpointError:
    if isinstance(error, CheckpointError):
        return error
    return CheckpointError(
        f"instance {row.run_id}-{row.number}: its encrypted data was changed, or encrypted for another instance"
    )
