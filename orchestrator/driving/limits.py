"""Rate groups: how many attempts of a named kind may start per second, over all instances of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from heapq import heapify, heappop, heappush

import anyio
import attrs

from orchestrator.clock import Clock, wait_until

MAX_PAUSE_S = 60.0
"""The longest pause that the other side may ask of a whole group."""
RETURN_INTERVAL_S = 0.005
"""Between two starts of a group without a rate that had to wait for a pause: they do not come back all at once."""


@attrs.define
class _Group:
    """Turns are counted from ``shift``, by which pauses have moved all of them so far."""

    interval_s: float
    free: float = 0.0
    """The first turn that nobody has had."""
    returned: list[float] = attrs.field(factory=list)
    """Turns that were given back, as a heap."""
    shift: float = 0.0
    paused_until: float = 0.0

    def take(self, now: float) -> float:
        """The next turn. (Whoever comes later is later, but for turns that were given back.)"""
        here = now - self.shift
        while self.returned and self.returned[0] < here:
            heappop(self.returned)
        if self.returned:
            return heappop(self.returned)
        turn = max(here, self.free)
        self.free = turn + (self.interval_s or (RETURN_INTERVAL_S if turn > here else 0.0))
        return turn


class RateLimits:
    """Evenly spaced starts per group, first come first served, with no burst after a pause.

    A group without a rate is not limited, until the other side says that it is sent too much. Spacing is the
    strictest reading of a limit: never more than the rate in any window, which is what keeps a tenant's 429 away.
    """

    def __init__(self, rates: Mapping[str, float], clock: Clock) -> None:
        self._clock = clock
        self._groups = {name: _Group(1 / rate) for name, rate in rates.items()}

    def limits(self, group: str) -> bool:
        """Whether this group has anything to wait for."""
        return group in self._groups

    async def admit(self, group: str, *, leave: anyio.Event | None = None, until: float = math.inf) -> float:
        """Wait for this attempt's turn; answers with the seconds that it took.

        Args:
            leave: Set: do not wait any longer, and give the turn back.
            until: Nor beyond this moment (steady time).
        """
        limit = self._groups.get(group)
        if limit is None:
            return 0.0
        # The turn is taken before the wait. A cancelled waiter leaves its gap.
        asked = self._clock.steady()
        turn = limit.take(asked)
        # A pause that is asked for meanwhile moves the turns of all who wait, in their order.
        while (now := self._clock.steady()) < (starts := max(turn + limit.shift, limit.paused_until)):
            if now >= until or (leave is not None and leave.is_set()):
                heappush(limit.returned, turn)
                break
            await self._wait(min(starts, until), leave)
        return self._clock.steady() - asked

    async def _wait(self, moment: float, leave: anyio.Event | None) -> None:
        if leave is None:
            await self._clock.sleep(moment - self._clock.steady())
        else:
            await wait_until(self._clock, moment, leave)

    def slow_down(self, group: str, seconds: float) -> float:
        """The other side refuses attempts of this group for ``seconds``: nobody of it starts before.

        Returns:
            The seconds of a pause that ends later than those before; 0: this one changes nothing.
        """
        limit, now = self._groups.setdefault(group, _Group(0.0)), self._clock.steady()
        until = now + min(seconds, MAX_PAUSE_S)
        more = until - max(limit.paused_until, now)
        if more > 0:
            limit.paused_until = until
            limit.shift += more
            limit.free = max(limit.free, until - limit.shift)
            # A turn that was given back and had passed would start inside the pause.
            limit.returned = [turn for turn in limit.returned if turn + limit.shift >= until]
            heapify(limit.returned)
        return until - now if more > 0 else 0.0
