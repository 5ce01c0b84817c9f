"""Think times."""

from __future__ import annotations

from random import Random

import pytest

from orchestrator import ThinkTime, ThinkTimeKind
from orchestrator.lifecycle.pauses import parse_think_time


def test_an_exponential_pause_has_its_mean_and_a_bound() -> None:
    think_time, rng = ThinkTime(ThinkTimeKind.EXPONENTIAL, 2), Random(1)
    drawn = [think_time.draw(rng) for _ in range(5000)]
    assert sum(drawn) / len(drawn) == pytest.approx(2, rel=0.1)
    assert max(drawn) <= 20


def test_pauses_as_people_write_them() -> None:
    assert parse_think_time("2s") == ThinkTime(ThinkTimeKind.CONSTANT, 2)
    assert parse_think_time("1s-3s") == ThinkTime(ThinkTimeKind.UNIFORM, 1, 3)
    assert parse_think_time("~2s") == ThinkTime(ThinkTimeKind.EXPONENTIAL, 2)
    with pytest.raises(ValueError, match="shorter than the shortest"):
        parse_think_time("3s-1s")
