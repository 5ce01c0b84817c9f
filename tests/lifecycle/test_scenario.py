"""The pure scenario, and the values that are refused before the start."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator import ENDLESS, Scenario, SettingError, Stage, ThinkTime, ThinkTimeKind
from orchestrator.lifecycle.scenario import parse_duration, parse_stages, parse_think_time, show_duration

REFUSED = {
    "no instances": ({"instances": 0}, "instances: 0 is less than 1"),
    "no rate": ({"rate": 0.0, "duration": 1.0}, "rate: 0 is not between 1.16e-05 (one a day) and 1000000 a second"),
    "an open end": ({"rate": 5.0}, "rate: needs an end"),
    "two rates": ({"rate": 5.0, "rate_stages": (Stage(1, 1),)}, "rate-stages: cannot be given beside rate"),
    "stages of both kinds": ({"rate": 5.0, "duration": 9.0, "stages": (Stage(1, 1),)}, "stages: ramp the concurrency"),
    "stages and a number": ({"stages": (Stage(9, 5),), "concurrency": 5}, "concurrency: cannot be given beside stages"),
    "a number of 309 digits": ({"instances": 10**309}, "instances: a number of more than 308 digits is more than 1000000000"),
    "a rate next to nothing": ({"rate": 1e-300, "instances": 1}, "rate: 1e-300 is not between"),
    "stages without an arrival": ({"rate_stages": (Stage(1e-9, 1e-3),)}, "rate-stages: no arrival is due"),
    "a duration of nothing": ({"duration": 0.0}, "duration: 0 seconds is not more than 0 and at most a year"),
    "a stage of no time": ({"stages": (Stage(0, 5),)}, "stages: a stage lasts 0 s: more than 0"),
    "a stage below zero": ({"rate_stages": (Stage(5, -1),)}, "rate-stages: the stage 5s:-1 has an impossible target"),
    "a stage without end": ({"stages": (Stage(float("inf"), 5),)}, "stages: a stage lasts inf s"),
    "overtime without end": ({"graceful_stop": float("inf")}, "graceful-stop: inf is more than 31622400"),
    "a warm-up that is no number": ({"warm_up": float("nan")}, "warm-up: nan is more than"),
    "more than can be counted": ({"instances": 10**20}, "instances: 1e+20 is more than 1000000000"),
    "a seed that is too long": ({"seed": 10**30}, "seed: 1e+30 is more than"),
    "a rate beyond reason": ({"rate": 1e308, "duration": 5.0}, "rate: 1e+308 is not between"),
    "a pause without end": (
        {"rounds": 2, "think_time": ThinkTime(ThinkTimeKind.CONSTANT, float("inf"))},
        "think-time: the pause must be between",
    ),
    "stages of nothing": ({"stages": (Stage(5, 0),)}, "stages: admit nothing"),
    "endless rounds without an end": ({"rounds": ENDLESS}, "rounds: endless rounds need an end"),
    "a pause without rounds": ({"think_time": ThinkTime(ThinkTimeKind.CONSTANT, 1)}, "think-time: is the pause between rounds"),
    "more users than places": (
        {"duration": 5.0, "rounds": ENDLESS, "instances": 100, "concurrency": 20},
        "instances: with endless rounds each instance keeps its place until the end, so 100 instances do not go with 20 at once",
    ),
    "a warm-up that takes all": ({"duration": 5.0, "warm_up": 5.0}, "warm-up: 5s leaves nothing of 5s to measure"),
}


@pytest.mark.parametrize(("parts", "says"), REFUSED.values(), ids=list(REFUSED))
def test_parts_that_do_not_fit_together_are_refused(parts, says) -> None:
    with pytest.raises(SettingError) as refused:
        Scenario(**parts)
    assert says in str(refused.value)


def test_a_closed_scenario_has_as_many_as_it_says() -> None:
    assert (Scenario().total, Scenario().cap) == (1, 1)
    assert (Scenario(instances=9, concurrency=3).total, Scenario(instances=9, concurrency=3).cap) == (9, 3)
    assert Scenario(duration=5.0, concurrency=3).total is None
    soak = Scenario(duration=5.0, concurrency=3, rounds=ENDLESS)
    assert (soak.total, soak.cap, soak.least) == (None, 3, 3)  # instances that fail are replaced


def test_with_endless_rounds_instances_are_users_at_once() -> None:
    soak = Scenario(duration=5.0, instances=7, rounds=ENDLESS)
    assert (soak.total, soak.cap, soak.least) == (None, 7, 7)
    assert soak.describe() == "7 at once, for 5s, rounds until the time is over"
    assert Scenario(stages=(Stage(5, 10),), instances=4, rounds=ENDLESS).concurrency_at(4.9) == 4
    assert Scenario(rate=2.0, duration=5.0, instances=4, rounds=ENDLESS).total == 4  # arrivals are not replaced


def test_a_place_waits_longer_the_more_instances_fail_in_it_and_never_beyond_its_bound() -> None:
    soak = Scenario(duration=5.0, concurrency=3, rounds=ENDLESS)
    assert soak.hold_back(0, 0) == 0
    for failed in range(1, 2000):
        longest = min(30, 2.0 ** min(failed - 1, 10))
        assert longest / 2 <= soak.hold_back(0, failed) <= longest
    assert len({soak.hold_back(place, 3) for place in range(50)}) == 50
    assert soak.hold_back(4, 3) == soak.hold_back(4, 3)
    assert Scenario(duration=5.0, concurrency=3).hold_back(0, 5) == 0  # without rounds each instance is an iteration


def test_concurrency_follows_the_stages() -> None:
    scenario = Scenario(stages=parse_stages("30s:10,2m:50,30s:0"))
    assert scenario.length == 180
    assert [scenario.concurrency_at(t) for t in (0.1, 3, 3.1, 30, 60, 150, 165, 179.9, 180)] == [1, 1, 2, 10, 20, 50, 25, 1, 0]
    assert scenario.cap == 50


@given(st.lists(st.tuples(st.floats(0.1, 50), st.integers(0, 40)), min_size=1, max_size=5), st.data())
def test_a_place_opens_when_the_scenario_says_that_it_is_open(parts, data) -> None:
    stages = tuple(Stage(length, target) for length, target in parts)
    if not any(stage.target for stage in stages):
        return
    scenario = Scenario(stages=stages)
    index = data.draw(st.integers(0, scenario.cap))
    moment = data.draw(st.floats(0, sum(s.seconds for s in stages)))
    opens = scenario.slot_opens(index, moment)
    if opens is None:
        later = [moment + step * 0.01 for step in range(200)]
        assert all(scenario.concurrency_at(t) <= index for t in later)
    else:
        assert opens >= moment
        assert scenario.concurrency_at(opens) > index or opens >= scenario.length


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
        assert scenario._arrivals_until(moment + 1e-6) >= number


def test_a_ramp_of_arrivals() -> None:
    scenario = Scenario(rate_stages=parse_stages("10s:10,10s:10,5s:0,5s:0,10s:20"))
    assert scenario.total == 275
    assert [round(scenario.due(k), 3) for k in (0, 1, 50, 150, 175)] == [0.0, 1.414, 10.0, 20.0, 30.0]


def test_rounds_go_on_until_their_number_or_the_time_is_over() -> None:
    assert [Scenario(rounds=3).wants_round(0, done, 1e9) for done in (1, 2, 3)] == [True, True, False]
    soak = Scenario(duration=10.0, rounds=ENDLESS, think_time=ThinkTime(ThinkTimeKind.CONSTANT, 2))
    assert soak.wants_round(0, 99, 7.9)
    assert not soak.wants_round(0, 99, 8.1)  # the next one would begin after the end


def test_a_pause_is_drawn_from_the_seed_alone() -> None:
    one = Scenario(duration=10.0, rounds=ENDLESS, think_time=ThinkTime(ThinkTimeKind.UNIFORM, 1, 3), seed=1)
    assert one.pause(5, 2) == one.pause(5, 2)
    assert len({one.pause(number, done) for number in range(5) for done in range(5)}) == 25
    assert all(1 <= one.pause(number, 1) <= 3 for number in range(100))


def test_an_exponential_pause_has_its_mean_and_a_bound() -> None:
    think_time, rng = ThinkTime(ThinkTimeKind.EXPONENTIAL, 2), Random(1)
    drawn = [think_time.draw(rng) for _ in range(5000)]
    assert sum(drawn) / len(drawn) == pytest.approx(2, rel=0.1)
    assert max(drawn) <= 20


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1h30m", 5400), ("250ms", 0.25), ("2m5s", 125), ("1.5s", 1.5)])
def test_durations(text, seconds) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5 s", "1x", "-5s", "5s3", "nan", "1e3"])
def test_an_invalid_duration_is_refused(text) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "30s", "30s:", "30s:x", "30s:-1", "30s:nan", ":5", "30s:5,,"])
def test_an_invalid_stage_is_refused(text) -> None:
    with pytest.raises(ValueError, match="is not a stage"):
        parse_stages(text)


def test_pauses_as_people_write_them() -> None:
    assert parse_think_time("2s") == ThinkTime(ThinkTimeKind.CONSTANT, 2)
    assert parse_think_time("1s-3s") == ThinkTime(ThinkTimeKind.UNIFORM, 1, 3)
    assert parse_think_time("~2s") == ThinkTime(ThinkTimeKind.EXPONENTIAL, 2)
    with pytest.raises(ValueError, match="shorter than the shortest"):
        parse_think_time("3s-1s")


def test_durations_are_shown_as_they_are_written() -> None:
    assert [show_duration(s) for s in (0.5, 30, 125, 5400, 3600)] == ["0.5s", "30s", "2m5s", "1h30m", "1h"]


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
