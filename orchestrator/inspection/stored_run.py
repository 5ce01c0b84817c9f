"""A run as it is stored: its record, with the workflow, the store and the key that its instances are read with."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Generic, Self

import attrs

from orchestrator.definition.registry import find_workflow
from orchestrator.definition.state import C
from orchestrator.definition.workflow import Workflow
from orchestrator.inspection.reading import Reader, RunResult, check_key, load_instance, result_of, run_of, stored_settings
from orchestrator.lifecycle.instance import Instance, Status
from orchestrator.lifecycle.run import UNFINISHED, RunRecord
from orchestrator.secret import Secret
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault
from orchestrator.storage.listing import ALL_RUNS, RunFilter


@attrs.frozen(kw_only=True)
class StoredRun(Generic[C]):
    """A run that can be read; the key is that of the run."""

    record: RunRecord
    workflow: Workflow[C, Any]
    store: Store
    vault: Vault

    @classmethod
    def of(cls, record: RunRecord, store: Store, vault: Vault) -> Self:
        """A run of an installed workflow.

        Raises:
            EncryptionKeyError: The run was encrypted with another key.
            UnknownWorkflowError: Its workflow is not installed.
        """
        check_key(record, vault)
        return cls(record=record, workflow=find_workflow(record.workflow), store=store, vault=vault)

    @classmethod
    async def load(cls, workflow: Workflow[C, Any], run_id: str, *, store: Store, vault: Vault) -> Self:
        """A run of this workflow.

        Raises:
            UnknownRunError: The store has no such run.
            ConfigurationError: The run is one of another workflow.
            EncryptionKeyError: The run was encrypted with another key.
        """
        record = await run_of(workflow, store, run_id)
        check_key(record, vault)
        return cls(record=record, workflow=workflow, store=store, vault=vault)

    async def refreshed(self) -> Self:
        """The same run with its record as it is stored now."""
        return attrs.evolve(self, record=await self.store.run(self.record.id))

    async def result(self) -> RunResult:
        """Status of the run, and its instances by status."""
        return await result_of(self.store, self.record)

    async def places(self) -> Mapping[str, int]:
        """State or end → number of instances there, of any status."""
        places: Counter[str] = Counter()
        for (_, place), number in (await self.store.counts(self.record.id)).items():
            places[place] += number
        return places

    def settings(self) -> Any:
        """The settings that the run was started with; ``None`` if the workflow has none."""
        return stored_settings(self.workflow, self.record, self.vault)

    def shown_settings(self) -> Mapping[str, Any]:
        """Those of the settings that have a value and are not secret."""
        settings = self.settings()
        if settings is None:
            return {}
        shown = {name: getattr(settings, name) for name in attrs.fields_dict(type(settings))}
        return {name: value for name, value in shown.items() if value is not None and not isinstance(value, Secret)}

    def reader(self) -> Reader[C]:
        """Decodes the checkpoints of this run."""
        return Reader(self.workflow, self.store, self.vault)

    async def instance(self, number: int) -> Instance[C] | None:
        """One instance; ``None`` if it was not started."""
        return await load_instance(self.workflow, self.store, self.vault, self.record.id, number)

    def instances(self, statuses: Iterable[Status] | None = None) -> AsyncIterator[Instance[C]]:
        """The instances in order, read in pages. Raises ``CheckpointError``."""
        return self.reader().instances(self.record.id, statuses)


async def newest_runs(store: Store, count: int = 1, *, unfinished: bool = False) -> list[RunRecord]:
    """The newest runs of a store, newest first; with ``unfinished`` only those that ``resume`` can continue."""
    wanted = RunFilter(statuses=UNFINISHED) if unfinished else ALL_RUNS
    return list((await store.runs(wanted, limit=count)).runs)


async def every_run(store: Store, wanted: RunFilter = ALL_RUNS) -> AsyncIterator[RunRecord]:
    """All runs that the filter accepts, newest first, read in pages."""
    page = await store.runs(wanted)
    while True:
        for run in page.runs:
            yield run
        if page.next is None:
            return
        page = await store.runs(wanted, after=page.next)
