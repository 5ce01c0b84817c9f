"""A run as it is stored: its record, with the workflow, the store and the key that its instances are read with."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Generic, Self, TypeAlias

import attrs
import cattrs

from orchestrator.definition.registry import find_workflow
from orchestrator.definition.state import C
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import ConfigurationError, EncryptionKeyError
from orchestrator.inspection.reader import Reader
from orchestrator.inspection.result import RunResult, result_of
from orchestrator.lifecycle.instance import Instance, Status
from orchestrator.lifecycle.run import UNFINISHED, RunRecord
from orchestrator.secret import Secret
from orchestrator.storage.base import Store
from orchestrator.storage.checkpoint import Codec, make_converter, opened
from orchestrator.storage.encryption import Vault
from orchestrator.storage.listing import ALL_RUNS, RunCursor, RunFilter


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
        record = await store.run(run_id)
        if record.workflow != workflow.name:
            raise ConfigurationError(f"run {run_id} is one of the workflow {record.workflow!r}, not of {workflow.name!r}")
        check_key(record, vault)
        return cls(record=record, workflow=workflow, store=store, vault=vault)

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
        """The settings that the run was started with; ``None`` if the workflow has none.

        Raises:
            ConfigurationError: They do not fit the installed version of the workflow.
        """
        if not isinstance(self.workflow.settings, type):
            return None
        data = opened(self.record.settings["workflow"], self.vault, self.record.id.encode())
        try:
            return make_converter().structure(data, self.workflow.settings)
        except cattrs.BaseValidationError as error:
            problems = "; ".join(cattrs.transform_error(error))
            raise ConfigurationError(f"the settings of run {self.record.id} do not fit this version: {problems}") from error

    def shown_settings(self) -> Mapping[str, object]:
        """Those of the settings that have a value and are not secret."""
        settings = self.settings()
        if settings is None:
            return {}
        shown = {name: getattr(settings, name) for name in attrs.fields_dict(type(settings))}
        return {name: value for name, value in shown.items() if value is not None and not isinstance(value, Secret)}

    def reader(self) -> Reader[C]:
        """Decodes the checkpoints of this run."""
        return Reader(Codec(self.workflow, self.vault), self.store, self.record.id)

    async def instance(self, number: int) -> Instance[C] | None:
        """One instance; ``None`` if it was not started."""
        return await self.reader().instance(number)

    def instances(self, statuses: Iterable[Status] | None = None) -> AsyncIterator[Instance[C]]:
        """The instances in order, read in pages. Raises ``CheckpointError``."""
        return self.reader().instances(statuses)

    async def usable(self) -> list[int]:
        """The numbers of the instances that the run kept, for another run to reuse.

        Raises:
            ConfigurationError: There are none.
        """
        if self.record.scenario.reuse is not None:
            raise ConfigurationError(
                f"run {self.record.id} reused the instances of {self.record.scenario.reuse}: name that run instead"
            )
        found = [instance.number async for instance in self.instances([Status.COMPLETED]) if instance.trail]
        if not found:
            raise ConfigurationError(
                f"run {self.record.id} has no completed instance that was kept; start it with --on-success keep"
            )
        return found


AnyStoredRun: TypeAlias = StoredRun[Any]
"""A stored run where the context of its instances does not matter."""


async def newest_runs(store: Store, count: int = 1, *, unfinished: bool = False) -> list[RunRecord]:
    """The newest runs of a store, newest first; with ``unfinished`` only those that ``resume`` can continue."""
    wanted = RunFilter(statuses=UNFINISHED) if unfinished else ALL_RUNS
    return list((await store.runs(wanted, limit=count)).runs)


async def every_run(store: Store, wanted: RunFilter = ALL_RUNS, *, after: RunCursor | None = None) -> AsyncIterator[RunRecord]:
    """All runs that the filter accepts, newest first, read in pages.

    Args:
        after: Begin behind this place.
    """
    page = await store.runs(wanted, after=after)
    while True:
        for run in page.runs:
            yield run
        if page.next is None:
            return
        page = await store.runs(wanted, after=page.next)


def check_key(record: RunRecord, vault: Vault) -> None:
    """Raise ``EncryptionKeyError`` if the run was encrypted with another key."""
    if record.key_id != vault.key_id:
        raise EncryptionKeyError(
            f"run {record.id} was encrypted with the key {record.key_id}, but {vault.source} holds the key {vault.key_id}: "
            "set ORCHESTRATOR_KEY to the key it was started with, or put that key file back"
        )
