"""Conditions on the change between two runs."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest

from orchestrator.load.statistics import Statistics
from orchestrator.load.window import Window
from orchestrator.report.regression import parse
from orchestrator.storage.records import StoredWindow
from states.token_fulfillment import WORKFLOW

REFUSED = {
    "nothing": ("", "is not a condition on a change; write it like 'p95 > +10%'"),
    "no percentage": ("p95 > 10", "is not a condition on a change"),
    "no number": ("p95 > nan%", "is not a condition on a change"),
    "309 digits": (f"p95 > {'9' * 309}%", "is not a condition on a change"),
    "an unknown name": ("sing_on.p95 > 1%", "nothing is measured as 'sing_on'; did you mean sign_on?"),
    "no statistic": ("sign_on > 1%", "say which statistic of 'sign_on': min, p50"),
    "another statistic": (
        "sign_on.p96 > 1%",
        "the statistic must be one of min, p50, p90, p95, p99, p99.9, max, rate, not 'p96'",
    ),
    "less than nothing": ("p95 < -100%", "is never met"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=list(REFUSED))
def test_an_unreadable_condition_is_refused_with_a_hint(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(text, WORKFLOW)


@attrs.frozen
class Measured:
    """The part of a run's statistics that a condition reads."""

    statistics: Statistics
    run_id: str = "261123-k7m3qp"

    @property
    def summary(self) -> Any:
        return self


def measured(*milliseconds: float, name: str = "sign_on", memory: int = 0) -> Any:
    window = Window(at=0.0, elapsed=0.0, width=10.0, memory=memory)
    window.record(name, [value / 1000 for value in milliseconds])
    window.read_off()
    return Measured(Statistics.of([StoredWindow(0, 1, 0, window.dumps())]))


@pytest.mark.parametrize(
    ("text", "met", "found"),
    [
        ("p95 > +10%", True, "it is +50.0%"),
        ("sign_on.p95 > 60%", False, "it is +50.0%"),
        ("sign_on.max >= +49%", True, "it is +50.0%"),
        ("sign_on.rate < -5%", True, "it is -50.0%"),
        ("sign_on.rate<=-60.5%", False, "it is -50.0%"),
        ("memory > +20%", True, "it is +100.0%"),
        ("create_user.p50 > +10%", True, "run 261123-k7m3qp has no such measurement"),
    ],
)
def test_a_change_is_measured_in_percent_of_the_first_run(text: str, met: bool, found: str) -> None:
    first, second = measured(100, 100, memory=50), measured(150, memory=100)
    judgement = parse(text, WORKFLOW).judge(first, second)
    assert judgement.met is met
    number = r"[+-]\d+\.\d"
    assert re.sub(number, "N", judgement.found) == re.sub(number, "N", found)
    for one, other in zip(re.findall(number, judgement.found), re.findall(number, found), strict=True):
        assert float(one) == pytest.approx(float(other), abs=2)  # a histogram rounds


def test_the_exit_code_says_that_a_run_became_worse(cli: Any) -> None:
    for _ in range(2):
        assert cli("run", "--json")[0] == 0
    assert cli("compare", "--fail-on", "p95 > +999999%")[0] == 0
    code, out, _ = cli("compare", "--fail-on", "sign_on.rate > -100%", "--fail-on", "p95 > +999999%")
    assert code == 4
    assert re.search(r"^FAILS  sign_on.rate > -100%: it is [+-]", out, re.MULTILINE)
    assert re.search(r"^ok     p95 > \+999999%: it is ", out, re.MULTILINE)
    code, out, _ = cli("compare", "--json", "--fail-on", "rate > -100%")
    data = json.loads(out)
    assert (code, data["exit_code"], [one["met"] for one in data["fail_on"]]) == (4, 4, [True])
    code, _, err = cli("compare", "--fail-on", "p95 > 10")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "fail-on: 'p95 > 10' is not a condition on a change" in err
