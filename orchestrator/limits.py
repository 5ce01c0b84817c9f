"""Rate groups: how many attempts of a named kind may start per second, over all instances of a run."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from orchestrator.clock import Clock


@attrs.define
class _Group:
    interval_s: float
    free_at: float = 0.0


class RateLimits:
    """Evenly spaced starts per group, first come first served, with no burst after a pause.

    A group without a rate is not limited. Spacing is the strictest reading of a limit: never more than the rate
    in any window, which is what keeps a tenant's 429 away.
    """

    def __init__(self, rates: Mapping[str, float], clock: Clock) -> None:
        self._clock = clock
        self._groups = {name: _Group(1 / rate) for name, rate in rates.items()}

    async def admit(self, group: str) -> None:
        """Wait for this attempt's turn."""
        limit = self._groups.get(group)
        if limit is None:
            return
        # The turn is taken before the wait, so whoever comes later is later. A cancelled waiter leaves its gap.
        now = self._clock.steady()
        turn = max(now, limit.free_at)
        limit.free_at = turn + limit.interval_s
        if turn > now:
            await self._clock.sleep(turn - now)
