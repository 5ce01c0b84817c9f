"""Scenario: the rules by which instances are admitted, the time limits, and the rounds. Pure: no clock, no I/O.

Three shapes, distinguished by the fields that are given:

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
from functools import cached_property
from random import Random

import attrs

from orchestrator.lifecycle.arrivals import Arrivals, ArrivalSchedule
from orchestrator.lifecycle.bounds import ENDLESS, OPEN_CONCURRENCY, UNBOUNDED
from orchestrator.lifecycle.changes import Change, Constant, Course, changed
from orchestrator.lifecycle.duration import show_duration
from orchestrator.lifecycle.pauses import ThinkTime, hold_back
from orchestrator.lifecycle.ramp import Ramp, Stage
from orchestrator.lifecycle.scenario_checks import check_scenario


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
    """Maximum number of active instances; ``None``: one (open: ``OPEN_CONCURRENCY``). Not allowed together with ``stages``."""
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
    changes: tuple[Change, ...] = ()
    """Changes of the rate, or of the concurrency in a closed scenario, that were asked for while the run was going on."""

    def __attrs_post_init__(self) -> None:
        check_scenario(self)

    @cached_property
    def is_open(self) -> bool:
        """Whether instances start by the clock, independent of the answers."""
        return self.rate is not None or bool(self.rate_stages)

    @cached_property
    def length(self) -> float | None:
        """When admission ends; ``None``: time does not limit it."""
        staged = [Ramp(stages).seconds for stages in (self.stages, self.rate_stages) if stages]
        return min([*staged, *([self.duration] if self.duration is not None else [])], default=None)

    @cached_property
    def ends_at(self) -> float | None:
        """When running instances are cut off; ``None``: never."""
        return None if self.length is None else self.length + self.graceful_stop

    @cached_property
    def cap(self) -> int:
        """Maximum number of active instances over the whole scenario."""
        if self.is_open:
            return self.concurrency or OPEN_CONCURRENCY
        highest = self._course.highest
        # With endless rounds each instance is a user who stays.
        is_limited = self.rounds == ENDLESS and self.stages and self.instances and not self.changes
        return min(highest, self.instances or highest) if is_limited else highest

    @cached_property
    def total(self) -> int | None:
        """Number of instances; ``None``: not known in advance."""
        if self._schedule:
            return self._schedule.total
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
        return self.cap if self.is_open else min(self.cap, self._course.level(moment))

    def slot_opens(self, index: int, moment: float) -> float | None:
        """The first moment, not before ``moment``, at which more than ``index`` instances may be active; ``None``: none."""
        if index >= self.cap:
            return None
        return moment if self.is_open else self._course.above(index, moment)

    def due(self, number: int) -> float:
        """When arrival ``number`` is due; 0 in a closed scenario."""
        return self._schedule.due(number) if self._schedule else 0.0

    def rate_at(self, moment: float) -> float:
        """Arrivals per second at this moment; 0 in a closed scenario."""
        return self._schedule.rate.value_at(moment) if self._schedule else 0.0

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
        """How long a slot stays empty after ``failed`` instances in a row that finished no round (see ``pauses.hold_back``)."""
        return hold_back(self.seed, place, failed) if self.replaces else 0.0

    def arrivals(self, moment: float, started: int) -> Arrivals:
        """The arrivals of an open scenario at ``moment``, when the first ``started`` have started."""
        assert self._schedule is not None
        return self._schedule.at(moment, started, self.ends_at)

    def describe(self) -> str:
        """One line for people."""
        parts = []
        if self.is_open:
            parts.append(f"{self.rate:g} arrivals/s" if self.rate else f"arrivals/s by stages {Ramp(self.rate_stages)}")
        if self.total is not None and (self.instances is not None or (self.total == 1 and not self.is_open)):
            parts.append(f"{self.total} instance{'s' if self.total != 1 else ''}")
        if self.stages:
            parts.append(f"concurrency by stages {Ramp(self.stages)}")
        else:
            parts.append(f"{self.cap if self.is_open else self._users} at once")
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
        for change in self.changes:
            unit = "/s" if self.is_open else " at once"
            parts.append(f"{change.value:g}{unit} after {show_duration(round(change.at))}")
        return ", ".join(parts)

    @cached_property
    def varies(self) -> bool:
        """Whether a closed scenario wants more instances at some moments than at others."""
        return not self.is_open and bool(self.stages or self.changes)

    def with_change(self, change: Change) -> Scenario:
        """The scenario with one more change; those that were to take effect later are replaced. Raises ``SettingError``."""
        kept = tuple(earlier for earlier in self.changes if earlier.at < change.at)
        return attrs.evolve(self, changes=(*kept, change))

    @cached_property
    def _users(self) -> int:
        """Maximum number of active instances of a closed scenario without stages, before any change."""
        return self.concurrency or (self.instances if self.rounds == ENDLESS else None) or 1

    @cached_property
    def _course(self) -> Course:
        """The concurrency of a closed scenario over time."""
        return changed(Ramp(self.stages) if self.stages else Constant(self._users), self.changes)

    @cached_property
    def _schedule(self) -> ArrivalSchedule | None:
        """When arrivals are due; ``None`` in a closed scenario."""
        if not self.is_open:
            return None
        course = Ramp(self.rate_stages) if self.rate is None else Constant(self.rate)
        return ArrivalSchedule(
            rate=changed(course, self.changes),
            length=math.inf if self.length is None else self.length,
            most=self.instances or UNBOUNDED,
        )
