"""The time limit of attempts, on a clock that the test moves."""

from __future__ import annotations

from orchestrator.driving.attempt import TimeLimit
from tests.support.clock import ManualClock


def limited() -> tuple[ManualClock, TimeLimit]:
    """A time limit with its clock, in a scope."""
    clock = ManualClock()
    limit = TimeLimit(clock)
    limit.new_scope()
    return clock, limit


async def test_an_attempt_that_exceeds_its_limit_cancels_the_scope() -> None:
    clock = ManualClock()
    limit = TimeLimit(clock)
    scope = limit.new_scope()
    limit.start(30)
    clock.advance(29.9)
    assert not limit.exceeded
    clock.advance(0.1)
    assert limit.exceeded
    assert scope.cancel_called


async def test_an_attempt_that_ended_in_time_cancels_nothing() -> None:
    clock, limit = limited()
    limit.start(30)
    limit.stop()
    clock.advance(100)
    assert not limit.exceeded


async def test_one_timer_serves_many_attempts() -> None:
    clock, limit = limited()
    for _ in range(100):
        limit.start(30)
        clock.advance(0.2)
        limit.stop()
    assert len(clock.timers) == 1
    limit.start(30)
    clock.advance(29.9)  # the first timer fires here and must set the next one
    assert not limit.exceeded
    clock.advance(0.2)
    assert limit.exceeded
    assert len(clock.timers) == 2


async def test_a_shorter_limit_after_a_longer_one_is_kept() -> None:
    clock, limit = limited()
    limit.start(30)
    limit.stop()
    limit.start(1)
    clock.advance(1)
    assert limit.exceeded


async def test_a_new_scope_follows_an_exceeded_one() -> None:
    clock, limit = limited()
    limit.start(1)
    clock.advance(1)
    limit.stop()
    limit.new_scope()
    assert not limit.exceeded
    limit.start(1)
    clock.advance(0.5)
    assert not limit.exceeded
    clock.advance(0.5)
    assert limit.exceeded


async def test_no_timer_is_left_after_close() -> None:
    clock, limit = limited()
    limit.start(1)
    limit.close()
    clock.advance(5)
    assert not limit.exceeded
