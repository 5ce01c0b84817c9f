"""Any split of a scenario admits the same instances at the same moments as one process does."""

from __future__ import annotations

import heapq
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import Scenario, SettingError, Stage
from orchestrator.api import check_shards
from orchestrator.driving.admission import Admission
from orchestrator.lifecycle.share import Share


class VirtualClock:
    """A clock that advances only when all tasks wait."""

    def __init__(self) -> None:
        self.time = 0.0
        self.waiting: list[tuple[float, int, anyio.Event]] = []

    def now(self) -> float:
        return self.time

    def steady(self) -> float:
        return self.time


def admissions(scenario: Scenario, share: Share, lasts: float) -> list[tuple[float, int]]:
    """The start times of a share's instances, if each of them lasts ``lasts`` seconds. Computed with the pure parts of an admission:
    the moments at which places open and arrivals are due."""
    clock = VirtualClock()
    admission = Admission(scenario, clock, share=share)  # waits are played here
    admission.begin()
    total = 200 if scenario.total is None else scenario.total
    numbers = [number for number in range(total) if share.owns(number)]
    started: list[tuple[float, int]] = []
    ends: list[float] = []
    for number in numbers:
        while True:
            while ends and ends[0] <= clock.time + 1e-9:
                heapq.heappop(ends)
                admission.give_back(None)
            going = len(ends)
            opens = scenario.slot_opens(share.nth(going), clock.time)
            due = scenario.due(number)
            moment = max(clock.time, due) if opens is None or opens <= clock.time else max(opens, due)
            if opens is not None and moment <= clock.time + 1e-9:
                break
            following = [one for one in (ends[0] if ends else None, None if opens is None else moment) if one is not None]
            if not following or min(following) > (scenario.length or 1e9):
                return started
            clock.time = min(following)
        if scenario.length is not None and clock.time >= scenario.length:
            return started
        admission.take_place()
        started.append((round(clock.time, 4), number))
        heapq.heappush(ends, clock.time + lasts)
    return started


SCENARIOS = {
    "arrivals": Scenario(rate=7.0, duration=6.0, concurrency=500),
    "arrivals by stages": Scenario(rate_stages=(Stage(3, 9), Stage(3, 2)), concurrency=500),
    "all at once": Scenario(instances=12, concurrency=12),
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))
@pytest.mark.parametrize("of", [1, 2, 3, 5])
def test_any_split_admits_the_same_instances_at_the_same_moments(scenario: Scenario, of: int) -> None:
    whole = admissions(scenario, Share(), 0.5)
    parts = [admissions(scenario, Share([index], of), 0.5) for index in range(of)]
    assert sorted(start for part in parts for start in part) == whole
    assert len(whole) == (scenario.total or 0)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=1, max_size=4), st.integers(1, 4), st.floats(0, 20))
@settings(max_examples=200)
def test_the_places_of_all_shards_are_those_of_the_ramp(ramp: list[tuple[int, int]], of: int, moment: float) -> None:
    if not any(target for _, target in ramp):
        return
    scenario = Scenario(stages=tuple(Stage(seconds, target) for seconds, target in ramp))
    level = scenario.concurrency_at(moment)
    assert sum(Share([index], of).part(level) for index in range(of)) == level
    # A place of a shard opens when the same place of the whole run opens.
    opens = {place: scenario.slot_opens(place, moment) for place in range(scenario.cap)}
    for index in range(of):
        share = Share([index], of)
        for place in range(share.part(scenario.cap)):
            assert scenario.slot_opens(share.nth(place), moment) == opens[share.nth(place)]


@pytest.mark.parametrize(
    ("scenario", "shards", "problem"),
    [
        ({"instances": 5, "concurrency": 2}, 3, "3 is more than 2"),
        ({"instances": 2, "concurrency": 5}, 3, "3 is more than 2"),
        ({"instances": 2}, 0, "0 is less than 1"),
    ],
)
def test_more_shards_than_can_have_work_are_refused(scenario: dict[str, Any], shards: int, problem: str) -> None:
    with pytest.raises(SettingError, match=problem):
        check_shards(Scenario(**scenario), shards)
