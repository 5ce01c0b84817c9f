"""The summary of a run: counts, measurements, verdicts, failures, and the effects that exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from orchestrator.definition.state import Effect
from orchestrator.inspection.result import RunResult
from orchestrator.inspection.rows import ErrorRow, StateRow, error_rows, segment_rows, state_rows
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.lifecycle.effects import effects_of
from orchestrator.lifecycle.instance import NOT_COMPLETED, TERMINAL, Failure, Leftover, Status
from orchestrator.lifecycle.run import RunStatus
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.series import ABORTED, MISSED, ROUND, ROUND_FAILED, count_ended
from orchestrator.load.statistics import Latency, Statistics, Window
from orchestrator.load.thresholds import Measured, Verdict, parse_all

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


async def summarise(run: StoredRun[Any]) -> Summary:
    """The summary of a run as it is stored now."""
    workflow, store, record = run.workflow, run.store, run.record
    result = await run.result()
    existing = Counter(await store.effects(record.id))
    reader = run.reader()
    async for instance in reader.uncounted():
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
        segments=tuple(segment_rows(workflow, statistics)),
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
