"""The statistics of runs, cached: between two reads of a running run only its newest windows change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import attrs

from orchestrator.load.statistics import Statistics
from orchestrator.storage.base import Store, StoredWindow

RUNS_KEPT = 8
"""Runs whose statistics are kept; each takes some hundred kB."""


@attrs.frozen
class _Read:
    rows: Sequence[StoredWindow]
    statistics: Statistics


class MeasuredRuns:
    """Reads the statistics of runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: OrderedDict[str, _Read] = OrderedDict()

    async def of(self, run_id: str) -> Statistics:
        """The measurements of a run as they are stored now."""
        rows = await self._store.statistics(run_id)
        known = self._read.get(run_id)
        if known is None or known.rows != rows:
            self._read[run_id] = _Read(rows, Statistics.of(rows))
        self._read.move_to_end(run_id)
        while len(self._read) > RUNS_KEPT:
            self._read.popitem(last=False)
        return self._read[run_id].statistics
