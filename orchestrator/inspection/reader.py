"""Reads the instances of a run from its checkpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Generic

from orchestrator.definition.state import C
from orchestrator.errors import CheckpointError, EncryptionKeyError
from orchestrator.lifecycle.instance import Instance, Status
from orchestrator.storage.base import Store
from orchestrator.storage.checkpoint import Codec, stored_definition
from orchestrator.storage.records import Checkpoint, Shard

PAGE = 500
"""Checkpoints read at once."""


class Reader(Generic[C]):
    """Decodes the checkpoints of a run; each definition that they name is read once."""

    def __init__(self, codec: Codec[C], store: Store, run_id: str) -> None:
        self.codec = codec
        self._store = store
        self._run_id = run_id
        self._definitions: dict[str, Mapping[str, str]] = {}

    async def decode(self, row: Checkpoint) -> Instance[C]:
        """The instance of a checkpoint. Raises ``CheckpointError``, ``EncryptionKeyError`` or ``WorkflowChangedError``."""
        definition = stored_definition(row)
        if definition not in self._definitions:
            self._definitions[definition] = await self._store.fingerprints(definition)
        return self.codec.decode(row, self._definitions)

    async def instance(self, number: int) -> Instance[C] | None:
        """One instance; ``None`` if it was not started."""
        rows = await self._store.load(self._run_id, after=number - 1, limit=1)
        return await self.decode(rows[0]) if rows and rows[0].number == number else None

    async def instances(
        self,
        statuses: Iterable[Status] | None = None,
        unreadable: Callable[[CheckpointError], None] | None = None,
        *,
        shard: Shard | None = None,
    ) -> AsyncIterator[Instance[C]]:
        """The instances in order, read in pages.

        Args:
            unreadable: Called for a checkpoint that cannot be decoded with the key of the run; it is skipped. ``None``: raise.
        """
        wanted, last = frozenset(Status if statuses is None else statuses), -1
        while rows := await self._store.load(self._run_id, wanted, after=last, limit=PAGE, shard=shard):
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

    async def uncounted(self) -> AsyncIterator[Instance[C]]:
        """The instances whose effects are not counted in the store, in order."""
        last = -1
        while rows := await self._store.uncounted(self._run_id, after=last, limit=PAGE):
            for row in rows:
                yield await self.decode(row)
            last = rows[-1].number


def _unreadable(error: CheckpointError | EncryptionKeyError, row: Checkpoint) -> CheckpointError:
    if isinstance(error, CheckpointError):
        return error
    return CheckpointError(
        f"instance {row.run_id}-{row.number}: its encrypted data was changed, or encrypted for another instance"
    )
