"""Pauses of instances: think times between rounds, and the wait after failures. Pure; each depends on its seed alone."""

from __future__ import annotations

from enum import StrEnum
from random import Random

import attrs

from orchestrator.lifecycle.duration import parse_duration, show_duration

LONGEST_HOLD_S = 30.0
"""Longest wait of a slot in which instance after instance fails in its first round."""


class ThinkTimeKind(StrEnum):
    """Distribution of the pause between two rounds."""

    CONSTANT = "constant"
    UNIFORM = "uniform"
    EXPONENTIAL = "exponential"


@attrs.frozen
class ThinkTime:
    """Pause between two rounds of an instance, in seconds; ``low`` is the constant, the mean or the minimum."""

    kind: ThinkTimeKind
    low: float
    high: float = 0.0

    def draw(self, rng: Random) -> float:
        """One pause. An exponential one is limited to ten times its mean."""
        if self.kind is ThinkTimeKind.CONSTANT:
            return self.low
        if self.kind is ThinkTimeKind.UNIFORM:
            return rng.uniform(self.low, self.high)
        return min(rng.expovariate(1 / self.low), 10 * self.low) if self.low else 0.0

    def __str__(self) -> str:
        if self.kind is ThinkTimeKind.UNIFORM:
            return f"{show_duration(self.low)}-{show_duration(self.high)}"
        return f"{'~' if self.kind is ThinkTimeKind.EXPONENTIAL else ''}{show_duration(self.low)}"


def parse_think_time(text: str) -> ThinkTime:
    """``2s`` is constant, ``1s-3s`` uniform, ``~2s`` exponential with that mean. Raises ``ValueError``."""
    text = text.strip()
    if text.startswith("~"):
        return ThinkTime(ThinkTimeKind.EXPONENTIAL, parse_duration(text[1:]))
    low, dash, high = text.partition("-")
    if not dash:
        return ThinkTime(ThinkTimeKind.CONSTANT, parse_duration(low))
    think_time = ThinkTime(ThinkTimeKind.UNIFORM, parse_duration(low), parse_duration(high))
    if think_time.high < think_time.low:
        raise ValueError(f"{text!r}: the longest pause is shorter than the shortest")
    return think_time


def hold_back(seed: int, place: int, failed: int) -> float:
    """How long slot ``place`` stays empty after ``failed`` instances in a row that finished no round. Without this wait, a server that
    refuses everything would get requests of new instances as fast as it refuses them.

    Exponential up to ``LONGEST_HOLD_S``, times a random factor from 0.5 to 1, so that slots that became empty together are
    not filled together.
    """
    if not failed:
        return 0.0
    longest = min(LONGEST_HOLD_S, 2.0 ** min(failed - 1, 10))
    return longest * Random(f"{seed}:{place}:{failed}:hold").uniform(0.5, 1.0)
