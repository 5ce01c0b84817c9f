"""The instances that an earlier run kept, for a run that reuses them."""

from __future__ import annotations

from typing import Any, Generic

from orchestrator.definition.state import C
from orchestrator.driving.options import Job
from orchestrator.inspection.stored_run import StoredRun


class ReusedInstances(Generic[C]):
    """The kept instances of one run, in turn; they are listed once."""

    def __init__(self, job: Job[C, Any], run_id: str) -> None:
        self._job = job
        self._run_id = run_id
        self._run: StoredRun[C] | None = None
        self._numbers: list[int] = []

    async def load(self) -> StoredRun[C]:
        """The run, after its kept instances are listed; raises the errors of ``StoredRun.load`` and ``StoredRun.usable``."""
        if self._run is None:
            run = await StoredRun.load(self._job.workflow, self._run_id, store=self._job.store, vault=self._job.vault)
            self._numbers = await run.usable()
            self._run = run
        return self._run

    async def context(self, number: int) -> C:
        """The context for instance ``number`` of the run that reuses them."""
        run = await self.load()
        found = await run.instance(self._numbers[number % len(self._numbers)])
        assert found is not None
        return found.context
