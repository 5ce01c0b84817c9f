"""The shards of a run as rows of a report: the processes that drove each, and their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from orchestrator.load.series import STARTED, count_ended
from orchestrator.load.statistics import Statistics
from orchestrator.load.window import Window
from orchestrator.storage.records import Shard, StoredWindow


@attrs.frozen(kw_only=True)
class ShardRow:
    """A shard of a run of several."""

    shard: int
    done: bool
    driven: bool
    """Whether a process has ever claimed it."""
    processes: tuple[str, ...]
    """Those that drove it, in order, e.g. ``process 123 on node7``."""
    started: int
    ended: int
    """Instances, as far as they were measured: a kill loses the last two seconds."""
    cpu_s: float
    """CPU time of these processes meanwhile."""
    gaps: tuple[tuple[float, float], ...]
    """When no process drove it: (seconds of the scenario, seconds of pause)."""

    @property
    def driver(self) -> str:
        """Names its processes. One that drives several shards stores its measurements with the first of them."""
        return ", ".join(self.processes) or ("measured with another shard" if self.driven else "not driven yet")


def shard_rows(shards: Sequence[Shard], windows: Sequence[StoredWindow]) -> tuple[ShardRow, ...]:
    """A row for each shard; none for a run of one. A process that drives several stores its numbers with the first of them."""
    if len(shards) == 1:
        return ()
    return tuple(_row(shard, [row for row in windows if row.shard == shard.index]) for shard in shards)


def _row(shard: Shard, stored: Sequence[StoredWindow]) -> ShardRow:
    windows = [Window.loads(row.body, histograms=False) for row in stored]
    return ShardRow(
        shard=shard.index,
        done=shard.done,
        driven=shard.epoch > 0,
        processes=tuple(dict.fromkeys(window.process for window in windows if window.process)),
        started=sum(window.counters[STARTED] for window in windows),
        ended=sum(count_ended(window.counters) for window in windows),
        cpu_s=sum(window.cpu_s for window in windows),
        gaps=tuple(Statistics(windows=windows).gaps),
    )
