"""Merges the numbers of a run that several processes drive: earlier ones from the store, and their reports."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import attrs

from orchestrator.driving.options import Job
from orchestrator.driving.orders import Report
from orchestrator.lifecycle.arrivals import Arrivals
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.collector import Collector, Progress
from orchestrator.load.live import Live, live_of, merged
from orchestrator.load.merging import grouped_by_time, merged_by_time
from orchestrator.load.series import ABORTED, MISSED, STARTED, counts_by_status
from orchestrator.load.statistics import Statistics
from orchestrator.load.thresholds import Measured
from orchestrator.load.timeline import Interval
from orchestrator.load.window import Window
from orchestrator.storage.records import StoredWindow

SUM_EVERY_S = 0.5


@attrs.frozen
class _Row:
    """A window of one shard, compressed: a long run has thousands."""

    shard: int
    key: str
    elapsed: float
    width: float
    packed: bytes

    @classmethod
    def of(cls, shard: int, key: str, body: bytes) -> _Row:
        window = Window.loads(body, histograms=False)
        return cls(shard, key, window.elapsed, window.width, zlib.compress(body, 1))

    def window(self) -> Window:
        return Window.loads(zlib.decompress(self.packed))


class RunNumbers:
    """Merges the parts of a run.

    Args:
        rows: The windows that the store holds when the run is spread.
        judged: Whether thresholds are judged, so that windows matter.
    """

    def __init__(
        self, job: Job[object, object], record: RunRecord, shards: int, rows: Iterable[StoredWindow], *, judged: bool
    ) -> None:
        self._record = record
        self._clock = job.clock
        self._sum: Live | None = None
        self._summed = 0.0
        self._live: dict[int, Live] = {}
        self._totals: dict[int, Window] = {}
        self._rows: dict[tuple[int, str], _Row] = {}
        self._merged: dict[tuple[_Row, ...], list[Window]] = {}
        """Rows that were measured at the same time → their sum: only the latest ones change."""
        by_shard: dict[int, list[StoredWindow]] = {shard: [] for shard in range(shards)}
        for row in rows:
            by_shard[row.shard].append(row)
            if judged:
                self._take_row(row.shard, f"{row.epoch}.{row.seq}", row.body)
        for shard, earlier in by_shard.items():
            progress = Progress(elapsed=lambda: 0.0, active=lambda: 0)
            collector = Collector(job.workflow, job.clock, progress, Interval(), earlier=earlier)
            started = collector.counters[STARTED]
            self._live[shard] = live_of(collector, job.workflow, started=started, elapsed=collector.statistics.elapsed)
            self._totals[shard] = collector.statistics.total

    def take(self, shards: Sequence[int], report: Report) -> None:
        """Take up a report of the process that drives these shards. Its numbers include all earlier ones of them."""
        first, *others = shards
        recent = report.live.recent if report.live.recent.width else self._live[first].recent
        self._live[first] = attrs.evolve(report.live, recent=recent)
        for shard in others:
            self._live[shard], self._totals[shard] = Live(), Window(at=0.0, elapsed=0.0)
        if report.total is not None:
            self._totals[first] = Window.loads(report.total.encode())
        for key, body in report.windows.items():
            self._take_row(first, key, None if body is None else body.encode())

    def rest(self, shards: Sequence[int]) -> None:
        """Nobody drives these shards any more."""
        self._sum = None
        for shard in shards:
            live = self._live[shard]
            states = {name: attrs.evolve(state, here=0, oldest_s=None) for name, state in live.states.items()}
            self._live[shard] = attrs.evolve(
                live, active=0, wanted=0, offered=0, held_back=0, states=states, recent=Window(at=0.0, elapsed=0.0)
            )

    def change(self, scenario: Scenario) -> None:
        """The run goes on by another scenario."""
        self._record = attrs.evolve(self._record, scenario=scenario)

    @property
    def live(self) -> Live:
        """The numbers of the run. Reports come more often than they can be merged: the sum is renewed twice a second."""
        now = self._clock.steady()
        if self._sum is None or now - self._summed > SUM_EVERY_S:
            self._sum, self._summed = merged(self._live.values()), now
        return self._sum

    def arrivals(self) -> Arrivals | None:
        """The arrivals of an open scenario."""
        if not self._record.scenario.is_open:
            return None
        live = self.live
        found = self._record.scenario.arrivals(live.elapsed, live.started)
        if not live.count(ABORTED):
            return found
        missed = live.count(MISSED)
        return attrs.evolve(found, due=live.started + missed, overdue=missed, expected_missed=missed)

    def measured(self) -> Measured:
        """The measurements that thresholds are judged on. Counts include the warm-up, as the final ones will."""
        live = self.live
        counts = counts_by_status(live.counters)
        counts[Status.RUNNING] = max(0, live.count(STARTED) - sum(counts.values()))
        found = Measured(statistics=self._statistics(), counts=counts)
        if (arrivals := self.arrivals()) is None:
            return found
        overdue = arrivals.overdue
        return attrs.evolve(found, missed=overdue, overdue=overdue, due=arrivals.due, expected_missed=arrivals.expected_missed)

    def _take_row(self, shard: int, key: str, body: bytes | None) -> None:
        if body is None:
            self._rows.pop((shard, key), None)
        else:
            self._rows[shard, key] = _Row.of(shard, key, body)

    def _statistics(self) -> Statistics:
        total = Window(at=0.0, elapsed=0.0)
        for part in self._totals.values():
            total.add(part)
        windows: list[Window] = []
        kept: dict[tuple[_Row, ...], list[Window]] = {}
        for rows in map(tuple, grouped_by_time(self._rows.values())):
            kept[rows] = self._merged.get(rows) or _sum_of(rows)
            windows += kept[rows]
        self._merged = kept
        total.width = sum(window.width for window in windows if window.is_measured)
        return Statistics(windows=windows, total=total)


def _sum_of(rows: Sequence[_Row]) -> list[Window]:
    shards: dict[int, list[Window]] = {}
    for row in rows:
        shards.setdefault(row.shard, []).append(row.window())
    found = merged_by_time(list(shards.values()))
    for window in found:
        window.read_off()
        window.histograms = {}
    return found
