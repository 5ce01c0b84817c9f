"""The summary of a run: counts, measurements, verdicts, failures, and the effects that exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from orchestrator.definition.state import Effect
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.inspection.measurements import measure
from orchestrator.inspection.reader import Reader
from orchestrator.inspection.rows import ErrorRow, StateRow
from orchestrator.inspection.shards import ShardRow, shard_rows
from orchestrator.inspection.stored_run import AnyStoredRun
from orchestrator.lifecycle.effects import effects_of
from orchestrator.lifecycle.instance import NOT_COMPLETED, TERMINAL, AnyInstance, Failure, Leftover, Status
from orchestrator.lifecycle.run import RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.latency import Latency
from orchestrator.load.series import ROUND, ROUND_FAILED, count_ended
from orchestrator.load.statistics import Statistics
from orchestrator.load.threshold_parser import parse_all
from orchestrator.load.thresholds import Verdict
from orchestrator.load.window import Window

FAILED = NOT_COMPLETED | {Status.ROLLING_BACK}
"""Statuses of instances whose failure is listed. The failures of a running instance are in its history."""
SHOWN = 20
"""Entries of a list that are kept; counts are always of all."""


@attrs.frozen(kw_only=True)
class Standing:
    """An effect of an instance that exists, or may exist."""

    instance: str
    state: str
    effect: Effect


@attrs.frozen(kw_only=True)
class Summary:
    """The result of a run, as far as it has come. Lists are cut to ``SHOWN``; ``existing`` counts all effects by kind."""

    run_id: str
    workflow: str
    status: RunStatus
    counts: Mapping[Status, int]
    existing: Mapping[str, int]
    standing: tuple[Standing, ...]
    leftovers: tuple[tuple[str, Leftover], ...]
    failures: tuple[tuple[str, Failure], ...]
    proofs: Mapping[str, Mapping[str, str]]
    """Instance → the facts that prove its success."""
    scenario: Scenario
    statistics: Statistics
    missed: int
    """Arrivals of an open scenario that never started."""
    aborted: bool
    """Whether a broken threshold ended the scenario early."""
    verdicts: tuple[Verdict, ...]
    judged: bool
    """Whether a threshold says how many instances may fail."""
    rounds_judged: bool
    """Whether one says how many rounds may."""
    states: tuple[StateRow, ...]
    segments: tuple[tuple[str, Latency], ...]
    errors: tuple[ErrorRow, ...]
    shards: tuple[ShardRow, ...] = ()
    """The shards of a run of several."""

    @property
    def admitted(self) -> int:
        """Instances that were started."""
        return sum(number for status, number in self.counts.items() if status is not Status.PENDING)

    @property
    def failed(self) -> int:
        """Instances that did not complete, including those that are being rolled back."""
        return sum(self.counts.get(status, 0) for status in FAILED)

    @property
    def broken(self) -> list[Verdict]:
        """Thresholds that do not hold."""
        return [verdict for verdict in self.verdicts if not verdict.holds]

    @property
    def unfinished(self) -> bool:
        """Whether ``resume`` can continue the run."""
        return self.status is not RunStatus.FINISHED

    @property
    def unexcused(self) -> int:
        """Failed instances, less those that failed in a round whose failure a threshold allows."""
        failed = self.counts.get(Status.FAILED, 0) + self.counts.get(Status.ROLLED_BACK, 0)
        excused = sum(window.counters[ROUND_FAILED] for window in self.statistics.windows) if self.rounds_judged else 0
        return max(0, failed - excused)

    @property
    def unmeasured(self) -> int:
        """Ended instances that are in no statistics: a kill loses the measurements since the last save, and a clean-up or a
        retry is not measured."""
        ended = sum(number for status, number in self.counts.items() if status in TERMINAL)
        return max(0, ended - self._ended(self.statistics.windows))

    @property
    def ended_in_warm_up(self) -> int:
        """Instances that ended in the warm-up."""
        return self._ended(window for window in self.statistics.windows if window.warm)

    @staticmethod
    def _ended(windows: Iterable[Window]) -> int:
        return sum(count_ended(window.counters) for window in windows)

    @property
    def failures_allowed(self) -> bool:
        """Whether the thresholds decide about failed instances; leftovers are never allowed."""
        return self.judged or (self.rounds_judged and not self.unexcused)


async def summarise(run: AnyStoredRun) -> Summary:
    """The summary of a run as it is stored now."""
    workflow, store, record = run.workflow, run.store, run.record
    result, reader = await run.result(), run.reader()
    existing = Counter(await store.effects(record.id))
    async for instance in reader.uncounted():
        existing.update(effect.kind for _, effect in effects_of(workflow, instance))
    shown = await _shown(run, reader)
    windows = await store.statistics(record.id)
    statistics = Statistics.of(windows)
    measured = measure(workflow, record, result, statistics)
    thresholds = parse_all(record.thresholds, workflow)
    return Summary(
        run_id=record.id,
        workflow=record.workflow,
        status=result.status,
        counts=result.counts,
        existing=existing,
        standing=tuple(shown.standing[:SHOWN]),
        leftovers=tuple(shown.leftovers),
        failures=tuple(shown.failures),
        proofs=shown.proofs,
        scenario=record.scenario,
        statistics=statistics,
        missed=measured.missed,
        aborted=measured.aborted,
        verdicts=measured.verdicts,
        judged=any(threshold.subject in ("failed", "completed") for threshold in thresholds),
        rounds_judged=any((threshold.subject, threshold.stat) == (ROUND, "failed") for threshold in thresholds),
        states=measured.states,
        segments=measured.segments,
        errors=measured.errors,
        shards=shard_rows(await store.shards(record.id), windows),
    )


@attrs.define
class _Shown:
    """The lists of a summary."""

    standing: list[Standing] = attrs.field(factory=list)
    leftovers: list[tuple[str, Leftover]] = attrs.field(factory=list)
    failures: list[tuple[str, Failure]] = attrs.field(factory=list)
    proofs: dict[str, Mapping[str, str]] = attrs.field(factory=dict)

    def add(self, workflow: AnyWorkflow, instance: AnyInstance) -> None:
        """Add the facts of an instance to the lists that have room."""
        if len(self.standing) < SHOWN:
            for state, effect in effects_of(workflow, instance):
                self.standing.append(Standing(instance=instance.id, state=state, effect=effect))
        if len(self.leftovers) < SHOWN:
            self.leftovers += [(instance.id, leftover) for leftover in instance.leftovers]
        if instance.failure is not None and instance.status in FAILED and len(self.failures) < SHOWN:
            self.failures.append((instance.id, instance.failure))
        if instance.status is Status.COMPLETED and workflow.prove is not None:
            self.proofs[instance.id] = workflow.prove(instance.context).facts


async def _shown(run: AnyStoredRun, reader: Reader[Any]) -> _Shown:
    """Decodes no more than can be shown: a run may have a million instances."""
    shown = _Shown()
    pages = [await run.store.load(run.record.id, {status}, limit=SHOWN) for status in Status]
    for row in sorted((row for page in pages for row in page), key=lambda row: row.number):
        shown.add(run.workflow, await reader.decode(row))
    return shown
