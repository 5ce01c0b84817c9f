"""The pure scenario, and the values that are refused before the start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ENDLESS, Scenario, SettingError, Stage, ThinkTime, ThinkTimeKind
from orchestrator.lifecycle.ramp import parse_stages

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


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        (Scenario(), "1 instance, 1 at once"),
        (Scenario(instances=9, concurrency=3), "9 instances, 3 at once"),
        (Scenario(duration=90.0, concurrency=3, warm_up=10.0), "3 at once, for 1m30s, warm-up 10s"),
        (Scenario(rate=2.0, duration=5.0, concurrency=4), "2 arrivals/s, 4 at once, for 5s"),
        (
            Scenario(rate=2.0, instances=7, rounds=3, reuse="260101-a"),
            "2 arrivals/s, 7 instances, 1000 at once, 3 rounds each, on the instances of 260101-a",
        ),
    ],
    ids=str,
)
def test_a_scenario_describes_itself_in_one_line(scenario: Scenario, says: str) -> None:
    assert scenario.describe() == says


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


@pytest.mark.parametrize("text", ["", "30s", "30s:", "30s:x", "30s:-1", "30s:nan", ":5", "30s:5,,"])
def test_an_invalid_stage_is_refused(text) -> None:
    with pytest.raises(ValueError, match="is not a stage"):
        parse_stages(text)
