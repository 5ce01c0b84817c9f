"""Ramps: a value that changes linearly from stage to stage, as the concurrency or the arrivals per second. Pure."""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate

import attrs

from orchestrator.errors import shortened
from orchestrator.lifecycle.duration import parse_duration, show_duration


@attrs.frozen
class Stage:
    """A linear change to ``target`` within ``seconds``, from the end of the stage before."""

    seconds: float
    target: float

    def __str__(self) -> str:
        return f"{show_duration(self.seconds)}:{self.target:g}"


def parse_stages(text: str) -> tuple[Stage, ...]:
    """The stages of ``30s:10,2m:50,30s:0``. Raises ``ValueError``."""
    stages = []
    for part in text.split(","):
        length, colon, target = part.strip().partition(":")
        try:
            stage = Stage(parse_duration(length), float(target)) if colon else None
        except ValueError:
            stage = None
        if stage is None or not math.isfinite(stage.target) or stage.target < 0:
            raise ValueError(f"{shortened(part.strip())} is not a stage (DURATION:TARGET, like 30s:10)")
        stages.append(stage)
    return tuple(stages)


@attrs.frozen(slots=False)  # no slots: derived properties are cached in the object
class Ramp:
    """A line that starts at 0 and goes to the target of each stage in turn; 0 after its end."""

    stages: tuple[Stage, ...]

    @cached_property
    def seconds(self) -> float:
        """Its length."""
        return sum(stage.seconds for stage in self.stages)

    @cached_property
    def highest(self) -> int:
        """The highest target, rounded up."""
        return math.ceil(max(stage.target for stage in self.stages))

    def value_at(self, moment: float) -> float:
        """The height at ``moment``."""
        begin, level = 0.0, 0.0
        for stage in self.stages:
            if moment < begin + stage.seconds:
                return level + (stage.target - level) * (moment - begin) / stage.seconds
            begin, level = begin + stage.seconds, stage.target
        return 0.0

    def level(self, moment: float) -> int:
        """The height at ``moment``, rounded up."""
        return math.ceil(self.value_at(moment) - 1e-9)

    def area(self, moment: float) -> float:
        """The area under the line up to ``moment``."""
        begin, level, area = 0.0, 0.0, 0.0
        for stage in self.stages:
            if moment <= begin:
                break
            part = min(stage.seconds, moment - begin)
            height = level + (stage.target - level) * part / stage.seconds
            area += part * (level + height) / 2
            begin, level = begin + stage.seconds, stage.target
        return area

    def above(self, height: int, moment: float) -> float | None:
        """The first moment, not before ``moment``, at which the level is above ``height``; ``None``: none."""
        begin, level = 0.0, 0.0
        for stage in self.stages:
            end = begin + stage.seconds
            if end > moment:
                at = max(begin, moment)
                if self.level(at) > height:
                    return at
                if stage.target > height:
                    rise = (height - level) / (stage.target - level) if stage.target != level else 0.0
                    # Just past the crossing, where the rounded-up level has changed.
                    return max(at, begin + rise * stage.seconds) + 1e-6 * stage.seconds + 1e-6
            begin, level = end, stage.target
        return None

    def moment_of(self, area: float) -> float:
        """When the area under the line reaches ``area``: the exact inverse of ``area``."""
        starts, areas = self._knots
        place = min(bisect_right(areas, area) - 1, len(self.stages) - 1)
        # A stage of no area begins at the same one as the next stage, so bisect_right has skipped it.
        stage, before = self.stages[place], self.stages[place - 1].target if place else 0.0
        more = area - areas[place]
        slope = (stage.target - before) / stage.seconds
        if more <= 0:
            return starts[place]
        if abs(slope) < 1e-12:
            return starts[place] + more / before
        return starts[place] + 2 * more / (before + math.sqrt(max(0.0, before * before + 2 * slope * more)))

    @cached_property
    def _knots(self) -> tuple[list[float], list[float]]:
        """Start of each stage, and the area before it."""
        starts = [0.0, *accumulate(stage.seconds for stage in self.stages)]
        return starts, [self.area(start) for start in starts[:-1]]

    def __str__(self) -> str:
        return ",".join(map(str, self.stages))
