"""RetryPolicy: whether another attempt follows a failed one, and after which delay."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import attrs

from orchestrator.errors import TransientError

LONGEST_PAUSE_S = 60.0
"""The longest pause that a server may impose, on one attempt or on a rate group."""


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter, limited by a number of attempts and a deadline."""

    attempts: int = attrs.field(default=6, validator=attrs.validators.ge(1))
    """Maximum number of attempts, including the first."""
    initial_delay: timedelta = timedelta(seconds=0.5)
    """Upper limit of the first delay."""
    max_delay: timedelta = timedelta(seconds=20)
    """Upper limit of every delay."""
    multiplier: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    """Growth of the upper limit from one delay to the next."""
    max_retry_after: timedelta = timedelta(seconds=LONGEST_PAUSE_S)
    """A longer ``Retry-After`` is cut to this."""
    deadline: timedelta | None = timedelta(minutes=5)
    """No attempt starts later than this after the state was entered or resumed; ``None``: no deadline."""

    @property
    def longest_wait(self) -> timedelta:
        """The longest wait between two attempts."""
        return max(self.max_delay, self.max_retry_after + self.initial_delay)

    def delay(self, failures: int, rng: Random) -> timedelta:
        """The delay before the next attempt: full jitter below an exponential upper limit.

        Uniform between 0 and ``min(max_delay, initial_delay * multiplier ** (failures - 1))``; never overflows.
        Source: AWS Architecture Blog, "Exponential Backoff And Jitter".

        Args:
            failures: Failed attempts so far; 1 after the first.
            rng: Source of the jitter; seed it to make a run repeatable.
        """
        ceiling = self.max_delay.total_seconds()
        # The cap prevents an overflow; 64 doublings exceed every delay.
        growth = self.multiplier ** min(failures - 1, 64)
        ceiling = min(ceiling, self.initial_delay.total_seconds() * growth)
        return timedelta(seconds=rng.uniform(0, ceiling))

    def next_wait(self, error: TransientError, *, failures: int, spent: float, rng: Random) -> float | None:
        """Seconds until the next attempt; ``None``: no attempt follows.

        A ``Retry-After``, cut to ``max_retry_after``, replaces the backoff. Some jitter is added, so that instances that were
        refused at the same time do not return at the same time.

        Args:
            failures: Failed attempts so far, including this one.
            spent: Seconds since the state was entered, or since the instance was resumed in it.
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
