"""The attempts of workers at parts of a run: the part of each, and its latest report. No I/O."""

from __future__ import annotations

import math
from collections.abc import Collection

from orchestrator.clock import Clock
from orchestrator.cluster.schedule import Part
from orchestrator.driving.orders import Report

SETTLED = 5
"""Reports after which a worker has worked for some seconds: earlier failures of its part do not count any more."""


CONFIRMED_S = 0.5
"""Seconds for which a worker must still be silent: if this process was frozen itself, the reports are about to be read."""


class Attempts:
    """The attempts that are under way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: dict[str, Part] = {}
        self._reports: dict[str, Report] = {}
        self._heard: dict[str, float] = {}
        """Attempt → when its latest report came, as steady time."""
        self._suspected: dict[str, float] = {}
        """Attempt → since when it counts as silent, as steady time."""

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def parts(self) -> Collection[Part]:
        """The parts that are driven."""
        return self._parts.values()

    def begin(self, attempt: str, part: Part) -> None:
        """A worker gets this part."""
        self._parts[attempt] = part

    def end(self, attempt: str) -> None:
        """The task has ended."""
        del self._parts[attempt]
        self._reports.pop(attempt, None)
        self._heard.pop(attempt, None)

    def take(self, attempt: str, report: Report) -> Part | None:
        """Keep a report. Returns its part; ``None`` if it is old, or of an attempt that has ended."""
        part, before = self._parts.get(attempt), self._reports.get(attempt)
        if part is None or (before is not None and before.number >= report.number):
            return None
        self._reports[attempt] = report
        self._heard[attempt] = self._clock.steady()
        if report.number > SETTLED:
            part.failures = 0
        return part

    def confirm(self, number: int) -> bool:
        """Whether all workers that have reported follow these orders or later ones."""
        return all(report.orders >= number for report in self._reports.values())

    @property
    def all_wait(self) -> bool:
        """Whether every worker is ready for the common start."""
        return len(self._reports) == len(self._parts) and all(report.waits for report in self._reports.values())

    @property
    def waiting(self) -> int:
        """How many workers are ready for the common start."""
        return sum(report.waits for report in self._reports.values())

    def behind(self, number: int) -> list[str]:
        """Those whose worker has not confirmed these orders."""
        return [attempt for attempt, report in self._reports.items() if report.orders < number]

    def silent(self, seconds: float) -> list[str]:
        """Those that work, and whose worker has reported nothing for longer: it is frozen, or cut off. Each is returned once, and
        not by the first call that finds it."""
        now = self._clock.steady()
        late = [a for a, report in self._reports.items() if not report.waits and now - self._heard[a] > seconds]
        self._suspected = {attempt: self._suspected.get(attempt, now) for attempt in late}
        found = [attempt for attempt, since in self._suspected.items() if now - since > CONFIRMED_S]
        for attempt in found:
            self._heard[attempt] = math.inf
        return found
