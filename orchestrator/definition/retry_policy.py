"""When a failed attempt is followed by another, and after how long."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import attrs

from orchestrator.errors import TransientError


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter, bounded by attempts and by a deadline."""

    attempts: int = attrs.field(default=6, validator=attrs.validators.ge(1))
    """Attempts in all, the first one included."""
    initial_delay: timedelta = timedelta(seconds=0.5)
    """Ceiling of the first delay."""
    max_delay: timedelta = timedelta(seconds=20)
    """Ceiling of any delay."""
    multiplier: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    """How much the ceiling grows from one delay to the next."""
    max_retry_after: timedelta = timedelta(seconds=60)
    """The longest ``Retry-After`` that is believed; a longer one is cut to this."""
    deadline: timedelta | None = timedelta(minutes=5)
    """No attempt starts later than this after the state was entered (or resumed); ``None``: no deadline."""

    @property
    def longest_wait(self) -> timedelta:
        """The longest wait between two attempts."""
        return max(self.max_delay, self.max_retry_after + self.initial_delay)

    def delay(self, failures: int, rng: Random) -> timedelta:
        """How long to wait before the next attempt: full jitter below an exponential ceiling.

        Uniform between 0 and ``min(max_delay, initial_delay * multiplier ** (failures - 1))``; never overflows.
        Source: AWS Architecture Blog, "Exponential Backoff And Jitter".

        Args:
            failures: Attempts that failed so far; 1 after the first.
            rng: Source of the jitter. Seeded, it makes a run repeatable.
        """
        ceiling = self.max_delay.total_seconds()
        # 64 doublings exceed any delay; the cap keeps the power from overflowing.
        growth = self.multiplier ** min(failures - 1, 64)
        ceiling = min(ceiling, self.initial_delay.total_seconds() * growth)
        return timedelta(seconds=rng.uniform(0, ceiling))

    def next_wait(self, error: TransientError, *, failures: int, spent: float, rng: Random) -> float | None:
        """Seconds until the next attempt, or ``None`` when there is none.

        A ``Retry-After`` replaces the backoff, cut to ``max_retry_after``; a little jitter is added so that
        instances that were refused together do not come back together.

        Args:
            failures: Attempts that failed so far, this one included.
            spent: Seconds since the state was entered, or the instance resumed in it.
        """
        if failures >= self.attempts:
            return None
        if error.retry_after is None:
            wait = self.delay(failures, rng).total_seconds()
        else:
            asked = min(max(error.retry_after, 0.0), self.max_retry_after.total_seconds())
            wait = asked + rng.uniform(0, self.initial_delay.total_seconds())
        if self.deadline is not None and spent + wait > self.deadline.total_seconds():
            return None
        return wait
