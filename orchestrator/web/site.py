"""Site: the objects that all pages use: store, key, running runs and caches."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from aiohttp import web

from orchestrator.definition import registry
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.inspection.snapshot import Snapshot, snapshot
from orchestrator.inspection.stored_run import AnyStoredRun, StoredRun, check_key
from orchestrator.lifecycle.ids import parse_id
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault
from orchestrator.web.drives import Drives
from orchestrator.web.measured import CountedRuns, MeasuredRuns
from orchestrator.web.planning import Planner


@attrs.define(kw_only=True)
class Site:
    """Everything that a request needs."""

    store: Store
    vault: Vault
    drives: Drives
    """The runs that this process drives."""
    planner: Planner | None = None
    """Makes runs of forms; ``None``: no run can be started here."""
    read_only: bool = False
    find_workflow: Callable[[str], AnyWorkflow] = registry.find_workflow
    """Name → workflow. Raises ``UnknownWorkflowError``."""
    measured: MeasuredRuns = attrs.field(init=False)
    counted: CountedRuns = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.measured = MeasuredRuns(self.store, self.drives)
        self.counted = CountedRuns(self.store)

    def stored(self, record: RunRecord) -> AnyStoredRun:
        """A run that can be read. Raises ``EncryptionKeyError`` or ``UnknownWorkflowError``."""
        check_key(record, self.vault)
        return StoredRun(record=record, workflow=self.find_workflow(record.workflow), store=self.store, vault=self.vault)

    async def snapshot(self, run: AnyStoredRun) -> Snapshot:
        """A run as it is stored now."""
        return await snapshot(run, await self.measured.of(run.record.id), await self.counted.of(run.record))

    @property
    def can_begin(self) -> bool:
        """Whether this process can drive further runs for the page."""
        return self.drives.tasks is not None and self.planner is not None and not self.read_only


SITE = web.AppKey("site", Site)


async def run_of(request: web.Request) -> AnyStoredRun:
    """The run that the path names.

    Raises:
        UnknownRunError, EncryptionKeyError, UnknownWorkflowError: It is not there, or cannot be read here.
    """
    site = request.app[SITE]
    return site.stored(await site.store.run(run_id_of(request)))


def run_id_of(request: web.Request) -> str:
    """The id of the run that the path names; an address without one is unknown."""
    try:
        run_id, number = parse_id(request.match_info["run"])
    except ValueError:
        raise web.HTTPNotFound from None
    if number is not None:
        raise web.HTTPNotFound
    return run_id


def number_of(request: web.Request) -> int:
    """The number of the instance that the path names."""
    text = request.match_info["number"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise web.HTTPNotFound
    return int(text)
