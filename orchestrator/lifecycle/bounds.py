"""Bounds of scenarios and rates, and the numbers that mean "no end"."""

from __future__ import annotations

UNBOUNDED = 1_000_000_000
"""Number of instances of a run that is limited only by time."""
ENDLESS = 0
"""Number of rounds of an instance that continues until the time is over."""

OPEN_CONCURRENCY = 1000
"""Default concurrency of an open scenario: a limit that only an overloaded server reaches."""
LONGEST_S = 366 * 86_400.0
"""A year. Longer values are treated as typos."""
FASTEST = 1_000_000.0
"""Maximum of arrivals, or of attempts of a rate group, per second."""
LEAST_RATE = 1 / 86_400
"""Minimum of arrivals, or of attempts of a rate group, per second: one per day."""
RATES_SHOWN = f"{LEAST_RATE:.3g} (one a day) and {FASTEST:.0f}"
