"""Rate groups: how many attempts of a named kind may start per second, over all instances of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from heapq import heapify, heappop, heappush

import anyio
import attrs

from orchestrator.clock import Clock, wait_until
from orchestrator.definition.retry_policy import LONGEST_PAUSE_S

RETURN_INTERVAL_S = 0.005
"""Spacing after a pause, in a group without a rate, to avoid a burst."""


RECHECK_S = 1.0
"""How often a waiter checks whether the share has changed."""


@attrs.define
class _Group:
    """Slots are moments of a clock of the group's own. It runs at the speed ``share`` (1: the whole rate is ours), and stands
    still in a pause: ``origin`` is its 0 as steady time."""

    interval_s: float
    share: float = 1.0
    free: float = 0.0
    """The first free slot."""
    returned: list[float] = attrs.field(factory=list)
    """Slots that were given back, as a heap."""
    origin: float = 0.0
    paused_until: float = 0.0
    pauses: int = 0
    paused_s: float = 0.0

    def take(self, now: float) -> float:
        """Take the next slot. (Later callers get later slots, except for those that were given back.)"""
        here = (now - self.origin) * self.share
        while self.returned and self.returned[0] < here:
            heappop(self.returned)
        if self.returned:
            return heappop(self.returned)
        slot = max(here, self.free)
        self.free = slot + (self.interval_s or (RETURN_INTERVAL_S if slot > here else 0.0))
        return slot

    def starts(self, slot: float) -> float:
        """The steady time of a slot."""
        return max(self.origin + slot / self.share, self.paused_until)

    def set_share(self, share: float, now: float) -> None:
        """Run at another speed from now on, or from the end of a pause. Slots that were taken keep their order."""
        at = max(now, self.paused_until)
        self.origin, self.share = at - (at - self.origin) * self.share / share, share


@attrs.frozen(kw_only=True)
class RateGroup:
    """A rate group as it is now."""

    per_second: float | None
    """Attempts per second, of this process; ``None``: no limit."""
    pauses: int
    """Pauses that the server asked of this process."""
    paused_s: float
    """Their total length in seconds; those that overlap count once."""
    left_s: float
    """Seconds until the current pause ends; 0: there is none."""


class RateLimits:
    """Evenly spaced starts per group, first come first served, with no burst after a pause.

    A group without a rate is unlimited until the server asks for a pause. Even spacing is the strictest reading of a
    limit: no window ever exceeds the rate, so the server has no reason to refuse.

    Args:
        rates: Group → attempts per second of the whole run.
    """

    def __init__(self, rates: Mapping[str, float], clock: Clock) -> None:
        self._clock = clock
        self._groups = {name: _Group(1 / rate) for name, rate in rates.items()}
        self._share = 1.0

    def set_share(self, share: float) -> None:
        """Use this part of each rate from now on: other processes use the rest. Waiters notice within a second."""
        if share == self._share:
            return
        now, self._share = self._clock.steady(), share
        for group in self._groups.values():
            if group.interval_s:
                group.set_share(share, now)

    @property
    def groups(self) -> dict[str, RateGroup]:
        """Each group that has a rate, or had a pause."""
        now = self._clock.steady()
        return {
            name: RateGroup(
                per_second=group.share / group.interval_s if group.interval_s else None,
                pauses=group.pauses,
                paused_s=group.paused_s,
                left_s=max(0.0, group.paused_until - now),
            )
            for name, group in self._groups.items()
        }

    def limits(self, group: str | None) -> bool:
        """Whether attempts of this group may have to wait."""
        return group in self._groups

    async def admit(self, group: str, *, leave: anyio.Event | None = None, until: float = math.inf) -> float:
        """Wait for the slot of this attempt. Returns the seconds waited.

        Args:
            leave: When set, stop waiting and give the slot back.
            until: Do not wait beyond this moment (steady time).
        """
        limit = self._groups.get(group)
        if limit is None:
            return 0.0
        # The slot is taken before the wait. A cancelled waiter leaves a gap.
        asked = self._clock.steady()
        slot = limit.take(asked)
        # A pause that begins during the wait moves the slots of all waiters, in their order; so does a change of the share.
        while (now := self._clock.steady()) < (starts := limit.starts(slot)):
            if now >= until or (leave is not None and leave.is_set()):
                heappush(limit.returned, slot)
                break
            latest = starts if self._share == 1.0 else min(starts, now + RECHECK_S)
            await self._wait(min(latest, until), leave)
        return self._clock.steady() - asked

    async def _wait(self, moment: float, leave: anyio.Event | None) -> None:
        if leave is None:
            await self._clock.sleep(moment - self._clock.steady())
        else:
            await wait_until(self._clock, moment, leave)

    def slow_down(self, group: str, seconds: float, *, known: bool = False) -> float:
        """The server refuses attempts of this group for ``seconds``: none starts before.

        Args:
            known: Whether another process has counted this pause.

        Returns:
            The remaining seconds, if this pause ends later than all earlier ones; 0: it changes nothing.
        """
        limit, now = self._groups.setdefault(group, _Group(0.0)), self._clock.steady()
        until = now + min(seconds, LONGEST_PAUSE_S)
        more = until - max(limit.paused_until, now)
        if more > 0:
            limit.paused_until = until
            if not known:
                limit.pauses += 1
                limit.paused_s += more
            limit.origin += more
            limit.free = max(limit.free, (until - limit.origin) * limit.share)
            # A past slot that was given back would start inside the pause.
            limit.returned = [slot for slot in limit.returned if limit.origin + slot / limit.share >= until]
            heapify(limit.returned)
        return until - now if more > 0 else 0.0
