"""What a run has come to, as data: one object that the text and the JSON form are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from orchestrator.definition.state import Effect
from orchestrator.definition.workflow import Workflow
from orchestrator.inspection.reading import Reader, RunResult
from orchestrator.lifecycle.effects import effects_of
from orchestrator.lifecycle.instance import TERMINAL, Failure, Leftover, Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.collector import ABORTED, MISSED
from orchestrator.load.statistics import ROUND, Latency, Statistics, Window
from orchestrator.load.thresholds import Measured, Verdict, parse_all
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.tables import ErrorRow, StateRow, error_rows, span_rows, state_rows
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault

FAILED = frozenset({Status.FAILED, Status.ROLLED_BACK, Status.ROLLBACK_FAILED, Status.ROLLING_BACK})
"""Statuses of instances whose failure is told; what one that goes on has met is in its history."""
SHOWN = 20
"""Entries of a list that are kept for showing; counts are always of all."""


@attrs.frozen(kw_only=True)
class Standing:
    """An effect of an instance that exists, or may exist."""

    instance: str
    state: str
    effect: Effect


@attrs.frozen(kw_only=True)
class Summary:
    """See the module. Lists are cut to ``SHOWN``; ``existing`` counts all by kind."""

    run_id: str
    workflow: str
    status: RunStatus
    counts: Mapping[Status, int]
    existing: Mapping[str, int]
    standing: tuple[Standing, ...]
    leftovers: tuple[tuple[str, Leftover], ...]
    failures: tuple[tuple[str, Failure], ...]
    proofs: Mapping[str, Mapping[str, str]]
    """Instance → what it has shown."""
    scenario: Scenario
    statistics: Statistics
    missed: int
    """Arrivals of an open scenario that never started."""
    aborted: bool
    """Whether a broken threshold has ended the scenario."""
    verdicts: tuple[Verdict, ...]
    judged: bool
    """Whether a threshold says how many instances may fail."""
    rounds_judged: bool
    """Whether one says how many rounds may."""
    states: tuple[StateRow, ...]
    segments: tuple[tuple[str, Latency], ...]
    errors: tuple[ErrorRow, ...]

    @property
    def admitted(self) -> int:
        """Instances that were started."""
        return sum(number for status, number in self.counts.items() if status is not Status.PENDING)

    @property
    def failed(self) -> int:
        """Instances that did not complete, and those that are on their way back."""
        return sum(self.counts.get(status, 0) for status in FAILED)

    @property
    def broken(self) -> list[Verdict]:
        """Thresholds that do not hold."""
        return [verdict for verdict in self.verdicts if not verdict.holds]

    @property
    def unfinished(self) -> bool:
        """Whether ``resume`` has something to do."""
        return self.status is not RunStatus.FINISHED

    @property
    def _unexcused(self) -> int:
        """Instances that failed, but for those whose failed rounds a threshold allows."""
        failed = self.counts.get(Status.FAILED, 0) + self.counts.get(Status.ROLLED_BACK, 0)
        excused = sum(window.counters[f"{ROUND}.failed"] for window in self.statistics.windows) if self.rounds_judged else 0
        return max(0, failed - excused)

    @property
    def unmeasured(self) -> int:
        """Instances that ended and are in no statistics: a kill loses those since the last save, and what a clean-up or a retry
        does is not measured."""
        ended = sum(number for status, number in self.counts.items() if status in TERMINAL)
        return max(0, ended - self._ended(self.statistics.windows))

    @property
    def ended_in_warm_up(self) -> int:
        """Instances that ended in the warm-up."""
        return self._ended(window for window in self.statistics.windows if window.warm)

    @staticmethod
    def _ended(windows: Iterable[Window]) -> int:
        return sum(n for window in windows for name, n in window.counters.items() if name.startswith("ended."))

    @property
    def failures_allowed(self) -> bool:
        """Whether the thresholds decide about failed instances; leftovers are never allowed."""
        return self.judged or (self.rounds_judged and not self._unexcused)

    def exit_code(self, *, cleaning: bool = False) -> ExitCode:
        """For the shell; a clean-up is a success when nothing is left."""
        if self.unfinished:
            return ExitCode.INTERRUPTED
        if self.counts.get(Status.ROLLBACK_FAILED):
            return ExitCode.LEFTOVERS
        if not cleaning and (self.broken or self.aborted):
            return ExitCode.THRESHOLD
        if not cleaning and not self.failures_allowed and self._unexcused:
            return ExitCode.FAILED
        return ExitCode.SUCCESS


async def summarise(workflow: Workflow[Any, Any], store: Store, vault: Vault, record: RunRecord, result: RunResult) -> Summary:
    """The summary of a run as the store has it."""
    existing = Counter(await store.effects(record.id))
    reader: Reader[Any] = Reader(workflow, store, vault)
    async for instance in reader.uncounted(record.id):
        existing.update(effect.kind for _, effect in effects_of(workflow, instance))
    # Decode no more than can be shown: a run may have a million instances.
    pages = [await store.load(record.id, {status}, limit=SHOWN) for status in Status]
    rows = sorted((row for page in pages for row in page), key=lambda row: row.number)
    standing: list[Standing] = []
    leftovers: list[tuple[str, Leftover]] = []
    failures: list[tuple[str, Failure]] = []
    proofs: dict[str, Mapping[str, str]] = {}
    for row in rows:
        instance = await reader.decode(row)
        effects = effects_of(workflow, instance) if len(standing) < SHOWN else []
        standing += [Standing(instance=instance.id, state=state, effect=effect) for state, effect in effects]
        if len(leftovers) < SHOWN:
            leftovers += [(instance.id, leftover) for leftover in instance.leftovers]
        if instance.failure is not None and instance.status in FAILED and len(failures) < SHOWN:
            failures.append((instance.id, instance.failure))
        if instance.status is Status.COMPLETED and workflow.prove is not None:
            proofs[instance.id] = workflow.prove(instance.context).facts
    statistics = Statistics.of(await store.statistics(record.id))
    aborted = bool(statistics.total.counters[ABORTED])
    missed = _missed(record.scenario, statistics, result)
    due = missed + sum(number for status, number in result.counts.items() if status is not Status.PENDING)
    measured = Measured(statistics=statistics, counts=result.counts, missed=missed, overdue=missed, due=due)
    thresholds = parse_all(record.thresholds, workflow)
    return Summary(
        scenario=record.scenario,
        statistics=statistics,
        missed=missed,
        aborted=aborted,
        verdicts=tuple(threshold.judge(measured) for threshold in thresholds),
        judged=any(threshold.subject in ("failed", "completed") for threshold in thresholds),
        rounds_judged=any((threshold.subject, threshold.stat) == (ROUND, "failed") for threshold in thresholds),
        states=tuple(state_rows(workflow, statistics)),
        segments=tuple(span_rows(workflow, statistics)),
        errors=tuple(error_rows(statistics)),
        run_id=record.id,
        workflow=record.workflow,
        status=result.status,
        counts=result.counts,
        existing=existing,
        standing=tuple(standing[:SHOWN]),
        leftovers=tuple(leftovers),
        failures=tuple(failures),
        proofs=proofs,
    )


def _missed(scenario: Scenario, statistics: Statistics, result: RunResult) -> int:
    """Arrivals that never started, or are overdue in a run that is not finished."""
    if not scenario.is_open:
        return 0
    if statistics.total.counters[ABORTED]:
        return statistics.total.counters[MISSED]
    pending = result.counts.get(Status.PENDING, 0)
    return scenario.arrivals(statistics.elapsed, result.total - pending).overdue if result.interrupted else pending
