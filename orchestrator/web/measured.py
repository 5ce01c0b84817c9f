"""The statistics of runs: those of its own runs are in memory, those of other processes are decoded from the store and cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import anyio.to_thread
import attrs

from orchestrator.inspection.snapshot import Counted, count
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.load.statistics import Statistics
from orchestrator.storage.base import Store
from orchestrator.storage.records import StoredWindow
from orchestrator.web.drives import Drives

COUNTS_KEPT = 500
"""Runs whose counts are kept."""
RUNS_KEPT = 8
"""Runs whose statistics are kept; each takes some hundred kB."""


@attrs.frozen
class _Read:
    rows: Sequence[StoredWindow]
    statistics: Statistics


class MeasuredRuns:
    """Reads the statistics of runs."""

    def __init__(self, store: Store, drives: Drives) -> None:
        self._store = store
        self._drives = drives
        self._read: OrderedDict[str, _Read] = OrderedDict()

    async def of(self, run_id: str) -> Statistics:
        """The measurements of a run up to its last tick."""
        driven = self._drives.get(run_id)
        if driven is not None and driven.is_whole:
            return driven.statistics
        rows = await self._store.statistics(run_id)
        known = self._read.get(run_id)
        if known is None or known.rows != rows:
            # In a thread: a long run takes a tenth of a second.
            self._read[run_id] = _Read(rows, await anyio.to_thread.run_sync(Statistics.of, rows))
        self._read.move_to_end(run_id)
        while len(self._read) > RUNS_KEPT:
            self._read.popitem(last=False)
        return self._read[run_id].statistics


@attrs.frozen
class _Count:
    updated_at: float
    counted: Counted


class CountedRuns:
    """Counts the instances of runs. The counts of a run that nobody drives are kept until its status changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    async def of(self, record: RunRecord) -> Counted:
        """The counts of a run now."""
        known = self._counts.get(record.id)
        if known is not None and known.updated_at == record.updated_at:
            self._counts.move_to_end(record.id)
            return known.counted
        counted = await count(self._store, record.id)
        # A run that goes on, or whose process was killed, has one of the other statuses.
        if record.status in (RunStatus.FINISHED, RunStatus.INTERRUPTED):
            self._counts[record.id] = _Count(record.updated_at, counted)
            while len(self._counts) > COUNTS_KEPT:
                self._counts.popitem(last=False)
        return counted
