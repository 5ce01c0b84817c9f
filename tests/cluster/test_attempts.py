"""Attempts, slots and shielded work: the parts of the launcher that need no process."""

from __future__ import annotations

import anyio
import attrs
import pytest

from orchestrator.cluster.attempts import SETTLED, Attempts
from orchestrator.cluster.schedule import Part
from orchestrator.cluster.shielded import finish_within
from orchestrator.cluster.slots import SMALLER_AFTER_S, Slots
from orchestrator.driving.orders import Report
from orchestrator.load.live import Live
from tests.support.clock import ManualClock

REPORT = Report(number=1, orders=1, waits=False, live=Live())


def attempts(*names: str) -> tuple[Attempts, ManualClock]:
    clock = ManualClock()
    found = Attempts(clock)
    for index, name in enumerate(names):
        found.begin(name, Part(shards=(index,)))
    return found, clock


def test_an_old_report_and_one_of_an_ended_attempt_are_ignored() -> None:
    found, _ = attempts("a")
    assert found.take("a", attrs.evolve(REPORT, number=2)) is not None
    assert found.take("a", REPORT) is None
    found.end("a")
    assert found.take("a", attrs.evolve(REPORT, number=3)) is None


def test_a_worker_that_reports_nothing_is_named_once() -> None:
    found, clock = attempts("a", "b", "c")
    found.take("a", REPORT)
    found.take("b", attrs.evolve(REPORT, waits=True))  # it waits for the common start, and `c` has not reported yet
    clock.advance(30)
    assert found.silent(31) == []
    clock.advance(2)
    assert found.silent(31) == []
    clock.advance(1)
    assert found.silent(31) == ["a"]
    clock.advance(1)
    assert found.silent(31) == []


def test_a_launcher_that_was_frozen_itself_first_reads_the_reports() -> None:
    found, clock = attempts("a")
    found.take("a", REPORT)
    clock.advance(100)
    assert found.silent(31) == []
    found.take("a", attrs.evolve(REPORT, number=2))
    clock.advance(1)
    assert found.silent(31) == []


def test_all_wait_when_each_has_reported_that_it_waits() -> None:
    found, _ = attempts("a", "b")
    found.take("a", attrs.evolve(REPORT, waits=True))
    assert not found.all_wait
    found.take("b", attrs.evolve(REPORT, waits=True))
    assert found.all_wait


def test_orders_are_repeated_until_they_are_confirmed() -> None:
    found, _ = attempts("a", "b")
    found.take("a", REPORT)
    assert (found.behind(2), found.confirm(2), found.confirm(1)) == (["a"], False, True)
    found.take("a", attrs.evolve(REPORT, number=2, orders=2))
    assert (found.behind(2), found.confirm(2)) == ([], True)


def test_failures_are_forgotten_after_some_seconds_of_work() -> None:
    found, _ = attempts("a")
    (part,) = found.parts
    part.failures = 3
    found.take("a", attrs.evolve(REPORT, number=SETTLED))
    assert part.failures == 3
    found.take("a", attrs.evolve(REPORT, number=SETTLED + 1))
    assert part.failures == 0


def test_slots_grow_at_once_and_shrink_when_workers_stay_away() -> None:
    slots = Slots()
    assert slots.choose(2, workers=4, driven=2, waiting=2, now=0.0) == 4
    assert slots.choose(4, workers=3, driven=3, waiting=1, now=1.0) is None
    assert slots.choose(4, workers=3, driven=4, waiting=1, now=2.0 + SMALLER_AFTER_S) is None  # one more is still driven
    assert slots.choose(4, workers=3, driven=3, waiting=1, now=2.0 + SMALLER_AFTER_S) == 3
    assert slots.choose(4, workers=4, driven=4, waiting=1, now=20.0) is None
    assert slots.choose(4, workers=3, driven=3, waiting=1, now=21.0) is None  # the time of absence starts again


@pytest.mark.parametrize("ends", [True, False], ids=["in time", "too late"])
async def test_work_gets_its_time_after_a_cancellation(ends: bool) -> None:
    asked, done = anyio.Event(), []

    async def work() -> None:
        await asked.wait()
        if not ends:
            await anyio.sleep_forever()
        done.append(True)

    with anyio.fail_after(5), anyio.CancelScope() as scope:
        scope.cancel()
        await finish_within(0.05 if not ends else 5, work, fail=pytest.fail, on_cancel=asked.set)
    assert scope.cancelled_caught
    assert done == [True] * ends


async def test_an_error_of_the_work_is_given_to_the_caller() -> None:
    errors: list[Exception] = []

    async def work() -> None:
        raise ValueError("broken")

    await finish_within(1, work, fail=errors.append, on_cancel=lambda: None)
    assert [str(error) for error in errors] == ["broken"]
