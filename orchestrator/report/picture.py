"""The whole of a run, for reports that show everything: its summary, where its instances stand, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from orchestrator.clock import SystemClock
from orchestrator.definition.workflow import Workflow
from orchestrator.inspection.reading import stored_instances
from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import RESUMABLE, Failure, Status
from orchestrator.lifecycle.run import RunRecord
from orchestrator.load.statistics import INSTANCE
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.summary import Summary
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault

ENDED_BADLY = (Status.FAILED, Status.ROLLED_BACK, Status.ROLLBACK_FAILED)
FAILED_SHOWN = 1000
"""Failed instances that are listed one by one."""


@attrs.frozen(kw_only=True)
class Picture:
    """See the module."""

    summary: Summary
    record: RunRecord
    workflow: Workflow[Any, Any]
    here: Mapping[str, int]
    """State → instances that stand in it and have not ended."""
    oldest: Mapping[str, tuple[str, float]]
    """State → the one that has stood there longest, and for how many seconds."""
    failed: tuple[tuple[str, Status, Failure], ...]
    """The first ``FAILED_SHOWN`` of them."""
    history: tuple[Event, ...]
    """Of the only instance; of several instances, nothing."""

    @property
    def failures(self) -> int:
        """How many there are of them in all."""
        return sum(self.summary.counts.get(status, 0) for status in ENDED_BADLY)

    @property
    def verdict(self) -> tuple[bool, str]:
        """Whether all is well, in a few words."""
        words = {
            ExitCode.SUCCESS: (True, "passed"),
            ExitCode.FAILED: (False, "instances failed"),
            ExitCode.LEFTOVERS: (False, "leftovers remain"),
            ExitCode.THRESHOLD: (False, "a threshold was broken"),
            ExitCode.INTERRUPTED: (False, "not finished"),
        }
        return words[self.summary.exit_code()]


def main_series(workflow: Workflow[Any, Any]) -> str:
    """The series that says most about a run: the last span of its workflow, else the whole instance."""
    return workflow.segments[-1].name if workflow.segments else INSTANCE


async def take_picture(workflow: Workflow[Any, Any], store: Store, vault: Vault, record: RunRecord, summary: Summary) -> Picture:
    """From what the store has at this moment."""
    here: Counter[str] = Counter()
    for (status, position), count in (await store.counts(record.id)).items():
        if status in RESUMABLE:
            here[position] += count
    now = SystemClock().now()
    oldest = {
        state: (f"{record.id}-{number}", max(0.0, now - at)) for state, (number, at) in (await store.oldest(record.id)).items()
    }
    failed: list[tuple[str, Status, Failure]] = []
    async for instance in stored_instances(workflow, store, vault, record.id, ENDED_BADLY):
        if len(failed) == FAILED_SHOWN:
            break
        failure = instance.failure or Failure(kind="user", message="rolled back by the user", state="", attempt=0)
        failed.append((instance.id, instance.status, failure))
    single = sum(summary.counts.values()) == 1
    return Picture(
        summary=summary,
        record=record,
        workflow=workflow,
        here=here,
        oldest=oldest,
        failed=tuple(failed),
        history=tuple(await store.events(record.id, 0)) if single else (),
    )
