"""Arrivals of an open scenario: due, late and missed."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator import Scenario, Stage
from orchestrator.lifecycle.ramp import parse_stages


def test_arrivals_of_a_constant_rate_are_exact() -> None:
    scenario = Scenario(rate=100.0, duration=60.0)
    assert scenario.total == 6000
    assert scenario.due(0) == 0
    assert scenario.due(5999) == pytest.approx(59.99)
    assert Scenario(rate=3.0, instances=10).total == 10


@given(st.lists(st.tuples(st.floats(0.5, 30), st.floats(0, 20)), min_size=1, max_size=5))
def test_arrivals_by_stages_are_the_inverse_of_the_area(parts) -> None:
    stages = tuple(Stage(length, target) for length, target in parts)
    begin, level, area = 0.0, 0.0, 0.0
    for stage in stages:
        area += stage.seconds * (level + stage.target) / 2
        begin, level = begin + stage.seconds, stage.target
    assume(area > 1e-6)  # less is refused
    scenario = Scenario(rate_stages=stages)
    assert scenario.total == math.ceil(area - 1e-9)
    due = [scenario.due(number) for number in range(scenario.total)]
    assert due == sorted(due)
    assert all(0 <= moment <= begin + 1e-6 for moment in due)
    for number, moment in enumerate(due):
        assert scenario.arrivals(moment + 1e-6, 0).due >= number


def test_a_ramp_of_arrivals() -> None:
    scenario = Scenario(rate_stages=parse_stages("10s:10,10s:10,5s:0,5s:0,10s:20"))
    assert scenario.total == 275
    assert [round(scenario.due(k), 3) for k in (0, 1, 50, 150, 175)] == [0.0, 1.414, 10.0, 20.0, 30.0]


def test_arrivals_that_are_due_and_have_not_started_wait() -> None:
    scenario = Scenario(rate=100.0, duration=20.0, graceful_stop=10.0)
    at = scenario.arrivals(5.0, 300)
    assert (at.due, at.started, at.waiting, at.overdue) == (500, 300, 200, 190)
    assert at.behind_s == pytest.approx(2.0)
    assert scenario.arrivals(25.0, 2000).waiting == 0
    assert scenario.arrivals(25.0, 1900).waiting == 100, "nothing is due after the scenario's time"
    assert scenario.arrivals(0.0, 1).waiting == 0
    assert Scenario(rate=100.0, instances=50).arrivals(5.0, 20).due == 50
    staged = Scenario(rate_stages=(Stage(10, 10), Stage(10, 0)))
    assert staged.arrivals(10.0, 40).waiting == 10


def test_a_backlog_that_can_be_made_up_for_is_not_missed() -> None:
    scenario = Scenario(rate=100.0, duration=20.0, graceful_stop=30.0)
    assert scenario.arrivals(7.0, 500).expected_missed == 0  # two seconds behind: 71/s is enough for 43 s
    assert scenario.arrivals(4.0, 64).expected_missed == 1200  # 16/s for 46 s
    assert Scenario(rate=100.0, instances=500).arrivals(4.0, 0).expected_missed == 0  # its time has no end
