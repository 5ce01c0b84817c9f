"""Changes of a running scenario: its rate, or its concurrency, from a moment on."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ENDLESS, Scenario, SettingError, Stage
from orchestrator.lifecycle.changes import Change


def change(at: float, value: float) -> Change:
    return Change(at=at, value=value, asked_at=0.0)


def test_arrivals_keep_their_moments_before_a_change_and_follow_the_new_rate_after_it() -> None:
    before = Scenario(rate=10, duration=60)
    after = before.with_change(change(30, 2))
    assert [after.due(number) for number in (0, 150, 299)] == [before.due(number) for number in (0, 150, 299)]
    assert after.due(300) == 30
    assert after.due(301) == 30.5
    assert (before.total, after.total) == (600, 360)
    assert after.length == before.length
    assert after.arrivals(31, 0).due == 302
    faster = after.with_change(change(40, 100))
    assert faster.due(320) == 40
    assert faster.due(420) == 41
    assert faster.total == 320 + 2000


def test_a_rate_without_a_time_still_ends_with_its_number() -> None:
    scenario = Scenario(rate=10, instances=100).with_change(change(5, 50))
    assert scenario.length is None
    assert scenario.total == 100
    assert scenario.due(99) == pytest.approx(5 + 49 / 50)


def test_a_rate_by_stages_is_replaced_too() -> None:
    scenario = Scenario(rate_stages=(Stage(10, 10), Stage(10, 10))).with_change(change(15, 1))
    assert scenario.total == 50 + 50 + 5
    assert scenario.due(100) == 15
    assert scenario.due(104) == 19


def test_the_concurrency_follows_the_changes() -> None:
    scenario = Scenario(instances=100, concurrency=5).with_change(change(10, 20)).with_change(change(20, 2))
    assert [scenario.concurrency_at(moment) for moment in (0, 9.9, 10, 19.9, 20, 1e9)] == [5, 5, 20, 20, 2, 2]
    assert scenario.cap == 20
    assert scenario.slot_opens(4, 0) == 0
    assert scenario.slot_opens(5, 0) == 10
    assert scenario.slot_opens(5, 12) == 12
    assert scenario.slot_opens(5, 20) is None
    assert scenario.slot_opens(20, 0) is None
    assert scenario.varies
    assert "20 at once after 10s, 2 at once after 20s" in scenario.describe()


def test_a_ramp_of_the_concurrency_ends_at_a_change() -> None:
    scenario = Scenario(stages=(Stage(10, 10), Stage(90, 10))).with_change(change(50, 3))
    assert [scenario.concurrency_at(moment) for moment in (5, 49, 50, 99)] == [5, 10, 3, 3]
    assert scenario.length == 100
    assert scenario.slot_opens(5, 60) is None


def test_users_of_a_soak_may_become_more() -> None:
    scenario = Scenario(instances=4, rounds=ENDLESS, duration=60).with_change(change(30, 9))
    assert (scenario.concurrency_at(29), scenario.concurrency_at(31), scenario.cap) == (4, 9, 9)


def test_a_change_replaces_those_that_were_to_come_later() -> None:
    scenario = Scenario(rate=1, duration=60).with_change(change(30, 2)).with_change(change(40, 3)).with_change(change(30, 5))
    assert [(one.at, one.value) for one in scenario.changes] == [(30, 5)]


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e9])
@pytest.mark.parametrize("scenario", [Scenario(rate=1, duration=60), Scenario(instances=5)], ids=["open", "closed"])
def test_an_impossible_value_is_refused(scenario: Scenario, value: float) -> None:
    with pytest.raises(SettingError):
        scenario.with_change(change(1, value))


def test_half_an_instance_is_refused() -> None:
    with pytest.raises(SettingError, match="whole number"):
        Scenario(instances=5).with_change(change(1, 1.5))


@given(
    rates=st.lists(st.floats(0.1, 1000), min_size=1, max_size=5),
    times=st.lists(st.floats(0, 100), min_size=5, max_size=5, unique=True),
    number=st.integers(0, 100_000),
)
def test_the_number_of_arrivals_and_their_moments_are_inverse(rates: list[float], times: list[float], number: int) -> None:
    scenario = Scenario(rate=rates[0], duration=100)
    for at, rate in zip(sorted(times), rates[1:], strict=False):
        scenario = scenario.with_change(change(at, rate))
    if number >= (scenario.total or 0):
        return
    due = scenario.due(number)
    assert 0 <= due <= 100
    assert scenario.arrivals(due + 1e-3, 0).due > number
    assert scenario.arrivals(max(0.0, due - 1e-3), 0).due <= number + 1
