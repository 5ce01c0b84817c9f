"""Scenario: how the instances of a run are admitted, for how long, and how often each goes round. Pure: no clock, no I/O.

Three shapes, told apart by what is given:

* **closed**: ``instances`` in all, ``concurrency`` at once; by ``stages`` the concurrency follows a ramp.
* **open**: arrivals at ``rate`` (or ``rate_stages``), independent of the response times; ``concurrency`` limits the number of
  active instances. The scenario alone decides when arrival *n* is due. Latency is counted from that moment, so a late start
  counts (Gil Tene, "How NOT to Measure Latency": coordinated omission).
* **soak**: either of them with ``rounds``: at its end an instance begins another round.

A closed scenario that is limited only by time keeps its concurrency: a new instance replaces one that failed. With endless rounds
each instance is a user who stays until the end, so ``instances`` means the same as ``concurrency``.

All moments are seconds since the run began to admit instances, without the time in which no process drove it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from random import Random

import attrs

from orchestrator.errors import SettingError, shortened

UNBOUNDED = 1_000_000_000
"""Number of instances of a run that is limited only by time."""
ENDLESS = 0
"""Number of rounds of an instance that continues until the time is over."""

LONGEST_S = 366 * 86_400.0
"""A year. Longer values are treated as typos."""
FASTEST = 1_000_000.0
LEAST_RATE = 1 / 86_400
"""Minimum of arrivals, or of attempts of a rate group, per second: one per day."""
LONGEST_HOLD_S = 30.0
"""Longest wait of a slot in which instance after instance fails in its first round."""
LATE_S = 0.1
"""An arrival that starts more than this after it was due is late."""
RATES_SHOWN = f"{LEAST_RATE:.3g} (one a day) and {FASTEST:.0f}"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d)")


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``1h30m``, ``250ms``; a bare number is seconds.

    Raises:
        ValueError: ``text`` is not a duration.
    """
    text = text.strip()
    parts = [(text, "s")] if re.fullmatch(r"\d+(?:\.\d+)?", text) else _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) not in (text, f"{text}s"):
        raise ValueError(f"{shortened(text)} is not a duration (like 30s, 2m or 1h30m)")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > LONGEST_S:
        raise ValueError(f"{shortened(text)} is longer than a year")
    return seconds


def show_duration(seconds: float) -> str:
    """Seconds as text for people: ``1h30m``, ``2m5s``, ``0.5s``."""
    if seconds < 60:
        return f"{seconds:g}s"
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    return "".join(f"{number}{unit}" for number, unit in parts if number)


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


@attrs.frozen(kw_only=True, slots=False)  # no slots: derived properties are cached in the object
class Scenario:
    """See the module. Times are seconds.

    Raises:
        SettingError: The parts do not fit together, with the name of the one to change.
    """

    instances: int | None = None
    """Total number; ``None``: as many as the time allows, or one if there is no time limit. In a closed scenario with endless rounds:
    the number of users."""
    concurrency: int | None = None
    """Maximum number of active instances; ``None``: one (open: 1000). Not allowed together with ``stages``."""
    stages: tuple[Stage, ...] = ()
    """Concurrency over time."""
    rate: float | None = None
    """Arrivals per second: an open scenario."""
    rate_stages: tuple[Stage, ...] = ()
    """Arrivals per second over time."""
    duration: float | None = None
    """After this no instance and no round begins."""
    rounds: int = 1
    """Rounds of each instance; ``ENDLESS``: until the time is over."""
    think_time: ThinkTime | None = None
    """Pause before each round except the first."""
    warm_up: float = 0.0
    """Measurements in this time are shown but not counted."""
    graceful_stop: float = 30.0
    """Grace period after ``duration``. Instances that still run at its end are rolled back (or kept), and arrivals that have not
    started are missed."""
    reuse: str | None = None
    """The run whose completed instances are reused, each from the start of its round."""
    seed: int = 0
    """Random seed of the pauses."""

    def __attrs_post_init__(self) -> None:
        _check(self)

    @cached_property
    def is_open(self) -> bool:
        """Whether instances start by the clock, independent of the answers."""
        return self.rate is not None or bool(self.rate_stages)

    @cached_property
    def length(self) -> float | None:
        """When admission ends; ``None``: time does not limit it."""
        staged = [sum(stage.seconds for stage in stages) for stages in (self.stages, self.rate_stages) if stages]
        return min([*staged, *([self.duration] if self.duration is not None else [])], default=None)

    @cached_property
    def ends_at(self) -> float | None:
        """When running instances are cut off; ``None``: never."""
        return None if self.length is None else self.length + self.graceful_stop

    @cached_property
    def cap(self) -> int:
        """Maximum number of active instances over the whole scenario."""
        if self.stages:
            highest = math.ceil(max(stage.target for stage in self.stages))
            return min(highest, self.instances or highest) if self.rounds == ENDLESS else highest
        if self.is_open:
            return self.concurrency or 1000
        return self.concurrency or (self.instances if self.rounds == ENDLESS else None) or 1

    @cached_property
    def total(self) -> int | None:
        """Number of instances; ``None``: not known in advance."""
        if self.is_open:
            assert self.length is not None or self.instances is not None
            due = UNBOUNDED if self.length is None else self._arrivals_until(self.length)
            return min(due, self.instances or UNBOUNDED)
        if self.rounds == ENDLESS:
            return None  # those that fail are replaced
        if self.instances is not None:
            return self.instances
        return 1 if self.length is None else None

    @cached_property
    def least(self) -> int:
        """Minimum number of instances."""
        if self.total is not None:
            return self.total
        return self.cap if self.rounds == ENDLESS and not self.stages else 1

    @cached_property
    def replaces(self) -> bool:
        """Whether an instance that fails is replaced by a new one, so that as many as wanted go round until the end."""
        return not self.is_open and self.total is None and self.rounds != 1

    def concurrency_at(self, moment: float) -> int:
        """Maximum number of active instances at this moment."""
        if not self.stages:
            return self.cap
        return min(self.cap, math.ceil(_level(self.stages, moment) - 1e-9))

    def slot_opens(self, index: int, moment: float) -> float | None:
        """The first moment, not before ``moment``, at which more than ``index`` instances may be active; ``None``: none."""
        if index >= self.cap:
            return None
        if not self.stages:
            return moment
        begin, level = 0.0, 0.0
        for stage in self.stages:
            end = begin + stage.seconds
            if end > moment:
                at = max(begin, moment)
                if self.concurrency_at(at) > index:
                    return at
                if stage.target > index:
                    rise = (index - level) / (stage.target - level) if stage.target != level else 0.0
                    # Just past the crossing, where the rounded-up level has changed.
                    return max(at, begin + rise * stage.seconds) + 1e-6 * stage.seconds + 1e-6
            begin, level = end, stage.target
        return None

    def due(self, number: int) -> float:
        """When arrival ``number`` is due (0 in a closed scenario): the exact inverse of the integral of the rate."""
        if self.rate is not None:
            return number / self.rate
        if not self.rate_stages:
            return 0.0
        starts, counts = self._rate_knots
        place = min(bisect_right(counts, number) - 1, len(self.rate_stages) - 1)
        # A stage without arrivals has the same count as the next one, so bisect_right has skipped it.
        stage, before = self.rate_stages[place], self.rate_stages[place - 1].target if place else 0.0
        more = number - counts[place]
        slope = (stage.target - before) / stage.seconds
        if more <= 0:
            return starts[place]
        if abs(slope) < 1e-12:
            return starts[place] + more / before
        return starts[place] + 2 * more / (before + math.sqrt(max(0.0, before * before + 2 * slope * more)))

    def pause(self, number: int, done: int) -> float:
        """The pause of an instance after ``done`` rounds. It depends on the seed alone, so a resumed run uses the same one."""
        return self.think_time.draw(Random(f"{self.seed}:{number}:{done}")) if self.think_time else 0.0

    def wants_round(self, number: int, done: int, moment: float) -> bool:
        """Whether an instance that finishes its ``done``-th round at ``moment`` begins another one."""
        if self.rounds != ENDLESS and done >= self.rounds:
            return False
        return self.has_time(number, done, moment)

    def has_time(self, number: int, done: int, moment: float) -> bool:
        """Whether a round after the ``done``-th, which ends at ``moment``, would begin before the scenario's end."""
        return self.length is None or moment + self.pause(number, done) < self.length

    def hold_back(self, place: int, failed: int) -> float:
        """How long a slot stays empty after ``failed`` instances in a row that finished no round. Without this wait, a server that
        refuses everything would get requests of new instances as fast as it refuses them.

        Exponential up to ``LONGEST_HOLD_S``, times a random factor from 0.5 to 1, so that slots that became empty together are
        not filled together. It depends on the seed alone.
        """
        if not self.replaces or not failed:
            return 0.0
        longest = min(LONGEST_HOLD_S, 2.0 ** min(failed - 1, 10))
        return longest * Random(f"{self.seed}:{place}:{failed}:hold").uniform(0.5, 1.0)

    def arrivals(self, moment: float, started: int) -> Arrivals:
        """The arrivals of an open scenario at ``moment``, when the first ``started`` have started."""
        due, overdue = self._arrivals_until(moment), self._arrivals_until(moment - LATE_S)
        total, expected = self.total or 0, 0.0
        if self.ends_at is not None and moment > 0:
            left = max(0.0, self.ends_at - moment)
            expected = max(0.0, total - started - started / moment * left)
        return Arrivals(
            due=max(due, started),
            started=started,
            overdue=max(0, overdue - started),
            behind_s=max(0.0, moment - self.due(started)) if started < due else 0.0,
            expected_missed=math.floor(expected),
        )

    def describe(self) -> str:
        """One line for people."""
        parts = []
        if self.is_open:
            parts.append(f"{self.rate:g} arrivals/s" if self.rate else f"arrivals/s by stages {_shown(self.rate_stages)}")
        if self.total is not None and (self.instances is not None or (self.total == 1 and not self.is_open)):
            parts.append(f"{self.total} instance{'s' if self.total != 1 else ''}")
        if self.stages:
            parts.append(f"concurrency by stages {_shown(self.stages)}")
        else:
            parts.append(f"{self.cap} at once")
        if self.duration is not None:
            parts.append(f"for {show_duration(self.duration)}")
        if self.rounds != 1:
            parts.append("rounds until the time is over" if self.rounds == ENDLESS else f"{self.rounds} rounds each")
        if self.think_time:
            parts.append(f"{self.think_time} between rounds")
        if self.warm_up:
            parts.append(f"warm-up {show_duration(self.warm_up)}")
        if self.reuse:
            parts.append(f"on the instances of {self.reuse}")
        return ", ".join(parts)

    def _arrivals_until(self, moment: float) -> int:
        """Number of arrivals that are due before ``moment``."""
        if self.length is not None:
            moment = min(moment, self.length)
        reached = max(0.0, moment) * self.rate if self.rate is not None else _area(self.rate_stages, moment)
        return min(math.ceil(reached - 1e-9), self.instances or UNBOUNDED)

    @cached_property
    def _rate_knots(self) -> tuple[list[float], list[float]]:
        """Start of each stage of the rate, and the number of arrivals that are due before it."""
        starts = [0.0, *accumulate(stage.seconds for stage in self.rate_stages)]
        return starts, [_area(self.rate_stages, start) for start in starts[:-1]]


def _level(stages: Sequence[Stage], moment: float) -> float:
    """The height of the line at ``moment``; 0 after its end."""
    begin, level = 0.0, 0.0
    for stage in stages:
        if moment < begin + stage.seconds:
            return level + (stage.target - level) * (moment - begin) / stage.seconds
        begin, level = begin + stage.seconds, stage.target
    return 0.0


def _area(stages: Sequence[Stage], moment: float) -> float:
    """The area under the line up to ``moment``."""
    begin, level, area = 0.0, 0.0, 0.0
    for stage in stages:
        if moment <= begin:
            break
        part = min(stage.seconds, moment - begin)
        height = level + (stage.target - level) * part / stage.seconds
        area += part * (level + height) / 2
        begin, level = begin + stage.seconds, stage.target
    return area


def _shown(stages: Sequence[Stage]) -> str:
    return ",".join(map(str, stages))


_BOUNDS: Mapping[str, tuple[int, float]] = {
    "instances": (1, UNBOUNDED),
    "concurrency": (1, 1_000_000),
    "rounds": (0, UNBOUNDED),
    "warm_up": (0, LONGEST_S),
    "graceful_stop": (0, LONGEST_S),
    "seed": (-(2**62), 2**62),
}


def _figure(value: float) -> str:
    """A number for a message; an integer may be too large for a float."""
    try:
        return f"{value:g}"
    except OverflowError:
        return "a number of more than 308 digits"


def _check(scenario: Scenario) -> None:
    for name, (least, most) in _BOUNDS.items():
        value = getattr(scenario, name)
        if value is not None and value < least:
            raise SettingError(name.replace("_", "-"), f"{_figure(value)} is less than {least}")
        if value is not None and not value <= most:
            raise SettingError(name.replace("_", "-"), f"{_figure(value)} is more than {most:.16g}")
    if scenario.rate is not None and not LEAST_RATE <= scenario.rate <= FASTEST:
        raise SettingError("rate", f"{_figure(scenario.rate)} is not between {RATES_SHOWN} a second")
    if scenario.duration is not None and not 0 < scenario.duration <= LONGEST_S:
        raise SettingError("duration", f"{_figure(scenario.duration)} seconds is not more than 0 and at most a year")
    if (
        scenario.think_time is not None
        and not 0 <= scenario.think_time.low <= max(scenario.think_time.low, scenario.think_time.high) <= LONGEST_S
    ):
        raise SettingError("think-time", "the pause must be between 0 and a year")
    _check_stages("stages", scenario.stages)
    _check_stages("rate-stages", scenario.rate_stages)
    _check_shape(scenario)
    length = scenario.length
    if scenario.rate is not None and length is None and scenario.instances is None:
        raise SettingError("rate", "needs an end: give duration or instances")
    if scenario.rounds == ENDLESS and length is None:
        raise SettingError("rounds", "endless rounds need an end: give duration")
    if scenario.warm_up and length is not None and scenario.warm_up >= length:
        raise SettingError("warm-up", f"{show_duration(scenario.warm_up)} leaves nothing of {show_duration(length)} to measure")


def _check_shape(scenario: Scenario) -> None:
    if scenario.rate is not None and scenario.rate_stages:
        raise SettingError("rate-stages", "cannot be given beside rate: which one is meant?")
    if scenario.is_open and scenario.stages:
        raise SettingError("stages", "ramp the concurrency of a closed scenario; for arrivals use rate-stages")
    if scenario.concurrency is not None and scenario.stages:
        raise SettingError("concurrency", "cannot be given beside stages, which say how many run at once; leave one of them out")
    if (
        scenario.rounds == ENDLESS
        and not scenario.is_open
        and None not in (scenario.instances, scenario.concurrency)
        and scenario.instances != scenario.concurrency
    ):
        raise SettingError(
            "instances",
            f"with endless rounds each instance keeps its place until the end, so {scenario.instances} instances do not go with "
            f"{scenario.concurrency} at once; leave one of the two out",
        )
    if scenario.rate_stages and not scenario.total:
        raise SettingError("rate-stages", f"no arrival is due in {_shown(scenario.rate_stages)}; give higher rates, or more time")
    if scenario.think_time and scenario.rounds == 1:
        raise SettingError("think-time", "is the pause between rounds, and there is one round only; give rounds")


def _check_stages(name: str, stages: Sequence[Stage]) -> None:
    if not stages:
        return
    for stage in stages:
        if not 0 < stage.seconds <= LONGEST_S:
            raise SettingError(name, f"a stage lasts {stage.seconds:g} s: more than 0, and a year at most, is possible")
        if not 0 <= stage.target <= FASTEST:
            raise SettingError(name, f"the stage {stage} has an impossible target")
    if not any(stage.target for stage in stages):
        raise SettingError(name, "admit nothing: every target is 0")
