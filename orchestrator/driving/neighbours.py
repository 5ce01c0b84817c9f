"""Neighbours: the state of the other processes that drive the same run, read from the store once a second.

* **Rates.** A tenant's limit holds for the whole run. The shards that are driven at once divide it: each process counts those
  that are not done. That number only falls, and a process that has not seen the latest fall yet uses less than its part: the
  sum never exceeds the limit. The launcher of a run knows how many shards are driven at once (``slots``), which may be fewer.
* **Pauses.** A 429 pauses the group in all processes.
"""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.driving.leases import LeaseKeeper
from orchestrator.driving.limits import RateLimits
from orchestrator.driving.options import AnyJob
from orchestrator.errors import StoreError

LOOK_EVERY_S = 1.0
TOLERANCE_S = 0.25
"""A pause that ends later by less is the one that is known: its end was stored by the wall clock."""


class Neighbours:
    """Keeps the rate limits of this process in step with the other processes.

    Args:
        slots: See :class:`~orchestrator.driving.orders.Orders`.
    """

    def __init__(self, job: AnyJob, leases: LeaseKeeper, limits: RateLimits, slots: int | None = None) -> None:
        self._job = job
        self._leases = leases
        self._limits = limits
        self._slots = slots
        self._left = leases.left
        self._pauses: Mapping[str, float] = {}
        """As of the last look."""
        self._adjust()

    def set_slots(self, slots: int | None) -> None:
        """The launcher has changed how many shards are driven at once."""
        if slots != self._slots:
            self._slots = slots
            self._adjust()

    async def keep(self) -> None:
        """Look at the store once a second, until cancelled."""
        while True:
            await self._job.clock.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except StoreError:
                pass  # the checkpoints report a store that has failed; until then, the limits stay as they are

    async def look(self) -> None:
        """Read pauses and finished shards of the other processes."""
        run_id, store = self._leases.lease.run_id, self._job.store
        self._left = min(self._left, sum(not shard.done for shard in await store.shards(run_id)))
        self._adjust()
        pauses = await store.pauses(run_id)
        groups, now = self._limits.groups, self._job.clock.now()
        for group, until in pauses.items():
            known = groups[group].left_s if group in groups else 0.0
            # Each pause once: the store holds our own, too.
            if until != self._pauses.get(group) and until - now > known + TOLERANCE_S:
                self._limits.slow_down(group, until - now, known=True)
        self._pauses = pauses

    def _adjust(self) -> None:
        ours = len(self._leases.shards)
        at_once = self._left if self._slots is None else min(self._slots, self._left)
        self._limits.set_share(ours / max(ours, at_once))
