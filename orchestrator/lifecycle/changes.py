"""Changes of a running scenario: from a moment on, its rate or its concurrency has another value. Pure.

A change takes effect at a moment of the scenario, a little after it was asked for, so that all processes that drive the run apply it
at the same one. It stays part of the scenario: a resumed run goes on with it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import attrs

from orchestrator.lifecycle.duration import show_duration


@attrs.frozen(kw_only=True)
class Change:
    """One change."""

    at: float
    """Seconds of the scenario."""
    value: float
    """From then on: arrivals per second in an open scenario, else the number of active instances."""
    asked_at: float
    """Unix time."""

    def describe(self, *, is_open: bool) -> str:
        """In words, e.g. ``3 arrivals a second, from 20s of the scenario on``."""
        unit = "arrivals a second" if is_open else "instances at once"
        return f"{self.value:g} {unit}, from {show_duration(round(self.at))} of the scenario on"


class Course(Protocol):
    """A value over the time of a scenario."""

    @property
    def highest(self) -> int:
        """The highest value, rounded up."""

    def value_at(self, moment: float) -> float:
        """The value at ``moment``."""

    def level(self, moment: float) -> int:
        """The value at ``moment``, rounded up."""

    def above(self, height: int, moment: float) -> float | None:
        """The first moment, not before ``moment``, at which the value is above ``height``; ``None``: none."""

    def area(self, moment: float) -> float:
        """The integral of the value up to ``moment``."""

    def moment_of(self, area: float) -> float:
        """When the integral reaches ``area``."""


@attrs.frozen
class Constant:
    """The same value all the time."""

    value: float

    @property
    def highest(self) -> int:
        return math.ceil(self.value)

    def value_at(self, moment: float) -> float:
        return self.value

    def level(self, moment: float) -> int:
        return math.ceil(self.value)

    def above(self, height: int, moment: float) -> float | None:
        return moment if self.value > height else None

    def area(self, moment: float) -> float:
        return self.value * moment

    def moment_of(self, area: float) -> float:
        return area / self.value


@attrs.frozen(slots=False)  # no slots: derived properties are cached in the object
class Changed:
    """A course that changes replace from the first one on."""

    before: Course
    changes: tuple[Change, ...]
    """In order of time; at least one."""

    @cached_property
    def highest(self) -> int:
        return max(self.before.highest, *(math.ceil(change.value) for change in self.changes))

    def value_at(self, moment: float) -> float:
        place = bisect_right(self._starts, moment) - 1
        return self.before.value_at(moment) if place < 0 else self.changes[place].value

    def level(self, moment: float) -> int:
        place = bisect_right(self._starts, moment) - 1
        return self.before.level(moment) if place < 0 else math.ceil(self.changes[place].value)

    def above(self, height: int, moment: float) -> float | None:
        found = self.before.above(height, moment) if moment < self._starts[0] else None
        if found is not None and found < self._starts[0]:
            return found
        return next((max(moment, change.at) for change, end in self._spans() if end > moment and change.value > height), None)

    def area(self, moment: float) -> float:
        place = bisect_right(self._starts, moment) - 1
        if place < 0:
            return self.before.area(moment)
        return self._areas[place] + self.changes[place].value * (moment - self._starts[place])

    def moment_of(self, area: float) -> float:
        place = bisect_right(self._areas, area) - 1
        if place < 0:
            return self.before.moment_of(area)
        return self._starts[place] + (area - self._areas[place]) / self.changes[place].value

    @cached_property
    def _starts(self) -> list[float]:
        return [change.at for change in self.changes]

    @cached_property
    def _areas(self) -> list[float]:
        """The integral at each change."""
        areas = [self.before.area(self._starts[0])]
        for change, end in list(self._spans())[:-1]:
            areas.append(areas[-1] + change.value * (end - change.at))
        return areas

    def _spans(self) -> Iterator[tuple[Change, float]]:
        """Each change, and when the next one replaces it."""
        yield from zip(self.changes, [*self._starts[1:], math.inf], strict=True)


def changed(before: Course, changes: tuple[Change, ...]) -> Course:
    """The course with these changes, if there are any."""
    return Changed(before, changes) if changes else before
