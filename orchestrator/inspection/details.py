"""The details of a run for full reports: its summary, the positions of its instances, and the failed ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

from orchestrator.clock import SystemClock
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.inspection.stored_run import AnyStoredRun
from orchestrator.inspection.summary import Summary
from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import NOT_COMPLETED, RESUMABLE, Failure, Status
from orchestrator.lifecycle.run import RunRecord
from orchestrator.load.series import INSTANCE

FAILED_SHOWN = 1000
"""Failed instances that are listed one by one."""


@attrs.frozen(kw_only=True)
class Details:
    """A run in full."""

    summary: Summary
    record: RunRecord
    workflow: AnyWorkflow
    here: Mapping[str, int]
    """State → unfinished instances that are in it."""
    oldest: Mapping[str, tuple[str, float]]
    """State → the instance that has been in it longest, and for how many seconds."""
    failed: tuple[tuple[str, Status, Failure], ...]
    """The first ``FAILED_SHOWN`` of the instances that did not complete, each with its status and failure."""
    history: tuple[Event, ...]
    """The events of the only instance; empty if there are several."""

    @property
    def failures(self) -> int:
        """How many instances did not complete."""
        return sum(self.summary.counts.get(status, 0) for status in NOT_COMPLETED)


def main_series(workflow: AnyWorkflow) -> str:
    """The series that a chart opens on: the last segment of the workflow, or the whole instance."""
    return workflow.segments[-1].name if workflow.segments else INSTANCE


async def details_of(run: AnyStoredRun, summary: Summary) -> Details:
    """The details of a run as they are stored now."""
    here: Counter[str] = Counter()
    for (status, position), count in (await run.store.counts(run.record.id)).items():
        if status in RESUMABLE:
            here[position] += count
    now = SystemClock().now()
    oldest = {
        state: (f"{run.record.id}-{number}", max(0.0, now - at))
        for state, (number, at) in (await run.store.oldest(run.record.id)).items()
    }
    failed: list[tuple[str, Status, Failure]] = []
    async for instance in run.instances(NOT_COMPLETED):
        if len(failed) == FAILED_SHOWN:
            break
        failure = instance.failure or Failure(kind="user", message="rolled back by the user", state="", attempt=0)
        failed.append((instance.id, instance.status, failure))
    single = sum(summary.counts.values()) == 1
    return Details(
        summary=summary,
        record=run.record,
        workflow=run.workflow,
        here=here,
        oldest=oldest,
        failed=tuple(failed),
        history=tuple(await run.store.events(run.record.id, 0)) if single else (),
    )
