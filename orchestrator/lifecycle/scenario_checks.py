"""Checks a scenario: the bounds of each part, and parts that contradict each other. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import SettingError
from orchestrator.lifecycle.bounds import ENDLESS, FASTEST, LEAST_RATE, LONGEST_S, RATES_SHOWN, UNBOUNDED
from orchestrator.lifecycle.duration import show_duration
from orchestrator.lifecycle.ramp import Ramp, Stage

if TYPE_CHECKING:
    from orchestrator.lifecycle.changes import Change
    from orchestrator.lifecycle.scenario import Scenario

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


def check_scenario(scenario: Scenario) -> None:
    """Refuse parts that are out of bounds or do not fit together.

    Raises:
        SettingError: With the name of the part to change.
    """
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
    _check_changes(scenario)
    _check_shape(scenario)
    length = scenario.length
    if scenario.rate is not None and length is None and scenario.instances is None:
        raise SettingError("rate", "needs an end: give duration or instances")
    if scenario.rounds == ENDLESS and length is None:
        raise SettingError("rounds", "endless rounds need an end: give duration")
    if scenario.warm_up and length is not None and scenario.warm_up >= length:
        raise SettingError("warm-up", f"{show_duration(scenario.warm_up)} leaves nothing of {show_duration(length)} to measure")


def _check_changes(scenario: Scenario) -> None:
    for change in scenario.changes:
        _check_change(scenario, change)
    if any(later.at <= earlier.at for earlier, later in itertools.pairwise(scenario.changes)):
        raise SettingError("change", "the changes of the scenario are not in order of time")


def _check_change(scenario: Scenario, change: Change) -> None:
    if not 0 <= change.at <= LONGEST_S:
        raise SettingError("change", f"{_figure(change.at)} is not a moment of the scenario")
    if scenario.is_open and not LEAST_RATE <= change.value <= FASTEST:
        raise SettingError("rate", f"{_figure(change.value)} is not between {RATES_SHOWN} a second")
    most = _BOUNDS["concurrency"][1]
    if not scenario.is_open and not (1 <= change.value <= most and change.value == round(change.value)):
        raise SettingError("concurrency", f"{_figure(change.value)} is not a whole number from 1 to {most:.16g}")


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
        raise SettingError("rate-stages", f"no arrival is due in {Ramp(scenario.rate_stages)}; give higher rates, or more time")
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
