"""Arrivals of an open scenario: when each is due, and how many are due at a given moment. Pure."""

from __future__ import annotations

import math

import attrs

from orchestrator.lifecycle.changes import Course

LATE_S = 0.1
"""An arrival that starts more than this after it was due is late."""


@attrs.frozen(kw_only=True)
class Arrivals:
    """The arrivals of an open scenario at one moment."""

    due: int
    """Arrivals that should have started."""
    started: int
    overdue: int
    """Arrivals that have been due for more than ``LATE_S`` and have not started."""
    behind_s: float
    """How long the next arrival has been due."""
    expected_missed: int
    """Arrivals that will be missed at the end if they continue to start at the rate so far."""

    @property
    def waiting(self) -> int:
        """The backlog: arrivals that are due and have not started."""
        return self.due - self.started


@attrs.frozen(kw_only=True)
class ArrivalSchedule:
    """When arrival *n* is due, by the rate over time."""

    rate: Course
    """Arrivals per second."""
    length: float
    """Seconds after which nothing is due; infinite if only the number ends it."""
    most: int
    """Maximum number of arrivals."""

    @property
    def total(self) -> int:
        """Number of arrivals."""
        return self.until(self.length)

    def due(self, number: int) -> float:
        """When arrival ``number`` is due: the exact inverse of the integral of the rate."""
        return self.rate.moment_of(number)

    def until(self, moment: float) -> int:
        """Number of arrivals that are due before ``moment``."""
        moment = min(max(0.0, moment), self.length)
        if moment == math.inf:
            return self.most
        return min(math.ceil(self.rate.area(moment) - 1e-9), self.most)

    def at(self, moment: float, started: int, ends_at: float | None) -> Arrivals:
        """The arrivals at ``moment``, when the first ``started`` have started; the rest is missed at ``ends_at``."""
        due, overdue, expected = self.until(moment), self.until(moment - LATE_S), 0.0
        if ends_at is not None and moment > 0:
            left = max(0.0, ends_at - moment)
            expected = max(0.0, self.total - started - started / moment * left)
        return Arrivals(
            due=max(due, started),
            started=started,
            overdue=max(0, overdue - started),
            behind_s=max(0.0, moment - self.due(started)) if started < due else 0.0,
            expected_missed=math.floor(expected),
        )
