"""The language of thresholds, and their judgment."""

from __future__ import annotations

import re

import pytest

from orchestrator import NextRound, Scenario, SettingError, Status
from orchestrator.load.figures import figure
from orchestrator.load.statistics import Statistics
from orchestrator.load.threshold_parser import check_span, parse
from orchestrator.load.thresholds import Measured
from orchestrator.load.window import ErrorKey, Window
from orchestrator.storage.records import StoredWindow
from tests.support.toy import Ledger, Making, One, Two, toy

WORKFLOW = toy(Ledger())


class Ending(Making):
    name = "three"
    outcomes = frozenset({"done", "again"})
    transitions = {"done": "completed", "again": NextRound("two")}


REFUSED = {
    "no threshold": ("whatever", "is not a threshold"),
    "an unknown state": ("tow.p95 < 1s", "nothing is measured as 'tow'; did you mean two"),
    "no statistic": ("two < 1s", "say which statistic of 'two'"),
    "no unit": ("two.p95 < 5", "the unit must be us or µs or ms or s or min, not missing"),
    "the wrong unit": ("two.rate > 5ms", "the unit must be /s or /min or /h, not ms"),
    "a drift of a count": ("two.count drift < 5%/h", "a drift is that of a percentile"),
    "a drift without its unit": ("two.p95 drift < 5%", "the unit must be %/h or %/min"),
    "rounds where there are none": ("round.failed < 1%", "nothing is measured as 'round'"),
    "a share of a call": ("two.attempt.failed < 1%", "'failed' is counted for a state, and 'two.attempt' is not one"),
    "a share of a span": ("instance.retried < 1%", "'retried' is counted for a state, and 'instance' is not one"),
    "a statistic of nothing": ("p95 < 5ms", "say of which state or segment, like 'one.p95 < 5ms'"),
    "a percentile of a count": ("failed.p95 < 5ms", "'failed' has no p95; write it like 'failed < 1%'"),
    "a drift of instances": ("failed drift < 5%/h", "'failed' has no drift; write it like 'failed < 1%'"),
    "a percentile of memory": ("memory.p95 drift < 5%/h", "'memory' has no p95; write it like 'memory drift < 5%/h'"),
    "more than all": ("failed < 101%", "'failed < 101%' always holds: the value is between 0 and 100%"),
    "all or less": ("two.failed <= 100%", "always holds"),
    "more than can be": ("completed > 100%", "'completed > 100%' never holds: the value is between 0 and 100%"),
    "less than nothing": ("two.p95 < -5ms", "'two.p95 < -5ms' never holds: the value is never negative"),
    "a time below zero": ("two.p95 < 0ms", "never holds"),
    "fewer than none": ("failed < -1", "never holds"),
    "none or more": ("two.rate >= 0/s", "always holds"),
    "a limit of 309 digits": (f"failed < {'9' * 309}", "is beyond anything that can be measured"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=list(REFUSED))
def test_an_unreadable_condition_is_refused_with_a_hint(text, says) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(text, WORKFLOW)


def measured(*windows: Window, counts=None, missed=0, due=0) -> Measured:
    for window in windows:
        window.read_off()
    statistics = Statistics.of(StoredWindow(0, 1, seq, window.dumps()) for seq, window in enumerate(windows))
    return Measured(statistics=statistics, counts=counts or {}, missed=missed, due=due)


def window(elapsed=0.0, width=10.0, **series: list[float]) -> Window:
    made = Window(at=1000.0 + elapsed, elapsed=elapsed, width=width)
    for name, values in series.items():
        made.record(name.replace("__", "."), values)
    return made


CASES = {
    "a percentile that holds": ("two.p95 < 200ms", True, "95"),
    "a percentile that does not": ("two.p95 < 90ms", False, "95"),
    "the median": ("two.p50 <= 51ms", True, "50"),
    "the highest": ("two.max < 99ms", False, "100"),
    "a rate": ("two.rate > 9/s", True, "10/s"),
    "a rate by the minute": ("two.rate > 601/min", False, "600/min"),
    "how many": ("two.count >= 100", True, "100"),
    "a single call": ("two.attempt.max < 1s", True, "0.5"),
    "instances that did not complete": ("failed < 5%", False, "10%"),
    "in numbers": ("failed <= 10", True, "10"),
    "completed": ("completed > 89%", True, "90%"),
    "leftovers": ("leftovers < 1", False, "1"),
    "missed": ("missed < 1%", False, "9.1%"),
    "retries of a state": ("two.retried < 10%", False, "20%"),
    "all errors": ("errors < 8", True, "7"),
}


@pytest.mark.parametrize(("text", "holds", "value"), CASES.values(), ids=list(CASES))
def test_a_threshold_is_judged_by_the_measured_values(text, holds, value) -> None:
    one = window(two=[ms / 1000 for ms in range(1, 101)], two__attempt=[0.5] * 5)
    one.counters["two.retried"] = 1
    one.count_error(ErrorKey("two", "transient", "503"), "an example", 7)
    counts = {Status.COMPLETED: 90, Status.ROLLED_BACK: 8, Status.FAILED: 1, Status.ROLLBACK_FAILED: 1}
    verdict = parse(text, WORKFLOW).judge(measured(one, counts=counts, missed=10, due=110))
    assert verdict.holds is holds
    assert value in str(verdict.value)


def test_a_share_is_of_all_calls_and_a_cut_is_none() -> None:
    one = window(two=[0.1], two__attempt=[0.1], two__recover=[0.1] * 3)
    one.counters["two.retried"] = 3
    one.counters["two.cut_off"] = 9
    one.count_error(ErrorKey("two", "cut off", "cut_off"), "an example", 9)
    assert parse("two.retried < 80%", WORKFLOW).judge(measured(one)).value == "75%"
    assert parse("two.failed < 1%", WORKFLOW).judge(measured(one)).value == "0%"
    assert parse("errors < 1", WORKFLOW).judge(measured(one)).holds


def test_rounds_are_judged_like_states_and_their_failures_are_a_share_of_all_that_ended() -> None:
    workflow = toy(Ledger(), One(), Two(), Ending())
    one = window(round=[0.2] * 90)
    one.counters.update({"round.done": 90, "round.failed": 10})
    for text, value in {
        "round.failed < 1%": "10%",
        "round.failed < 3": "10",
        "round.p95 < 100ms": "20",
        "round.rate > 10/s": "9/s",
    }.items():
        verdict = parse(text, workflow).judge(measured(one))
        assert not verdict.holds
        assert value in str(verdict.value)
    for text, says in {
        "rounds.failed < 1%": "did you mean round?",
        "round.retried < 1%": "'retried' is counted for a state, and 'round' is not one",
        "round < 1%": "say which statistic of 'round'",
    }.items():
        with pytest.raises(ValueError, match=re.escape(says)):
            parse(text, workflow)


def test_late_ones_are_a_share_of_those_that_were_started_after_the_warm_up() -> None:
    one = window(two=[0.1])
    one.counters.update({"late": 100, "started": 100})
    verdict = parse("late < 60%", WORKFLOW).judge(measured(one, counts={Status.COMPLETED: 1000}))
    assert (verdict.holds, verdict.value) == (False, "100%")


def test_a_rate_that_falls_to_nothing_drifts() -> None:
    windows = [window(elapsed=300.0 * n, width=300.0, **({"two": [0.1] * 60} if n < 6 or n == 12 else {})) for n in range(14)]
    verdict = parse("two.rate drift > -10%/h", WORKFLOW).judge(measured(*windows))
    assert not verdict.holds
    assert str(verdict.value).startswith("-")


def test_hours_are_told_apart() -> None:
    assert not parse("two.max < 150min", WORKFLOW).judge(measured(window(two=[3 * 3600.0]))).holds


def test_a_threshold_without_data_fails() -> None:
    verdict = parse("three.p95 < 1s", WORKFLOW).judge(measured(window(two=[0.1])))
    assert (verdict.holds, verdict.value) == (False, None)


def test_a_drift_is_the_slope_over_the_run() -> None:
    # From 100 ms on, 10 ms more in each of 13 windows of 5 minutes: 120 % an hour of the first value.
    windows = [window(elapsed=300.0 * n, width=300.0, two=[0.1 + 0.01 * n] * 50) for n in range(13)]
    broken = parse("two.p95 drift < 100%/h", WORKFLOW).judge(measured(*windows))
    assert not broken.holds
    assert float(str(broken.value).removesuffix("%/h")) == pytest.approx(120, rel=0.1)
    assert parse("two.p95 drift < 140%/h", WORKFLOW).judge(measured(*windows)).holds
    flat = [window(elapsed=300.0 * n, width=300.0, two=[0.1] * 50) for n in range(13)]
    assert parse("two.p95 drift < 1%/h", WORKFLOW).judge(measured(*flat)).holds


def test_a_few_seconds_of_any_measurements_make_no_slope() -> None:
    threshold = parse("two.p95 drift < 1%/h", WORKFLOW)
    short = [window(elapsed=2.0 * n, width=2.0, two=[0.1 + 0.001 * n] * 50) for n in range(20)]
    assert threshold.judge(measured(*short)).found == "not measured: a drift needs 2m"
    long = [window(elapsed=10.0 * n, width=10.0, two=[0.1 + 0.001 * n] * 50) for n in range(12)]
    assert threshold.judge(measured(*long)).found.startswith("it is ")


def test_a_scenario_that_is_too_short_for_a_drift_is_refused() -> None:
    drift, other = parse("memory drift < 5%/h", WORKFLOW), parse("two.p95 < 1s", WORKFLOW)
    with pytest.raises(SettingError, match=re.escape("'memory drift < 5%/h': a drift needs 2m, and 1m55s are measured")):
        check_span([other, drift], Scenario(duration=125.0, warm_up=10.0))
    check_span([other, drift], Scenario(duration=130.0, warm_up=10.0))
    check_span([other], Scenario(duration=5.0))
    check_span([drift], Scenario(instances=5))  # its length is not known beforehand


@pytest.mark.parametrize(
    ("value", "shown"),
    [(14.9877, "15.0"), (0, "0"), (0.40983, "0.41"), (75, "75"), (1498.77, "1,499"), (99.96, "100.0"), (123.4, "123")],
)
def test_a_number_has_as_many_digits_as_help(value: float, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(
    ("text", "value"),
    [("two.max < 500ms", 0.49992), ("two.max < 15ms", 0.014987), ("two.max < 20ms", 0.014987)],
)
def test_a_value_is_not_rounded_onto_the_limit(text: str, value: float) -> None:
    one = window(two=[value])
    one.read_off()
    verdict = parse(text, WORKFLOW).judge(measured(one))
    assert verdict.holds
    assert float(str(verdict.value).split()[0]) < float(text.split("<")[1].removesuffix("ms"))


def test_a_few_windows_make_no_slope() -> None:
    verdict = parse("two.p95 drift < 1%/h", WORKFLOW).judge(measured(window(two=[0.1]), window(elapsed=10.0, two=[0.2])))
    assert (verdict.holds, verdict.value) == (False, None)


def test_the_warm_up_is_shown_and_not_counted() -> None:
    warm, then = window(two=[9.0]), window(elapsed=10.0, two=[0.1] * 10)
    warm.warm = True
    found = measured(warm, then)
    assert found.statistics.latency("two").max < 0.2
    assert [w.latencies["two"].max > 8 for w in found.statistics.windows] == [True, False]
    assert found.statistics.seconds == 10
