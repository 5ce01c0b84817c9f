"""The readings of a run that several processes drive: of each attempt the latest, of those that have ended their sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import attrs

from orchestrator.clock import Clock
from orchestrator.driving.readings import Readings, merged_groups
from orchestrator.lifecycle.instance import TERMINAL, Status
from orchestrator.load.metered import Metered
from orchestrator.load.series import STARTED, ended

Counts = Mapping[tuple[Status, str], int]
"""See :meth:`~orchestrator.storage.base.Store.counts`."""


class RunReadings:
    """Merges the readings of worker processes. Its counts never fall: a worker that dies has reported no more than it has stored.

    Args:
        own_lease_s: Seconds that are left of the launcher's lease; ``None``: it holds no shard.
    """

    def __init__(self, clock: Clock, own_lease_s: Callable[[], float | None]) -> None:
        self._clock = clock
        self._own_lease_s = own_lease_s
        self._latest: dict[str, tuple[float, Readings]] = {}
        """Attempt → time of its reading (steady), and the reading."""
        self._ended = Readings(metered=Metered(), rate_groups={}, lease_left_s=None)

    def take(self, attempt: str, readings: Readings) -> None:
        """The readings of an attempt, which include all earlier ones of it."""
        self._latest[attempt] = self._clock.steady(), readings

    def end(self, attempt: str) -> None:
        """The attempt has ended: keep its counts."""
        found = self._latest.pop(attempt, None)
        if found is not None:
            _, last = found
            self._ended.metered.add(last.metered)
            over = {name: attrs.evolve(group, per_second=None, left_s=0.0) for name, group in last.rate_groups.items()}
            self._ended = attrs.evolve(self._ended, rate_groups=merged_groups((self._ended.rate_groups, over)))

    def settle(self, before: Counts, now: Counts) -> None:
        """Nobody drives any more: count the instances that a killed worker has ended or started and not reported.

        Args:
            before: The counts of the store when the launcher began to drive.
        """
        more = Counter(_by_status(now))
        more.subtract(_by_status(before))
        counters = self._ended.metered.counters
        counters[STARTED] = max(counters[STARTED], sum(now.values()) - sum(before.values()))
        for status in TERMINAL:
            counters[ended(status.value)] = max(counters[ended(status.value)], more[status])

    def __call__(self) -> Readings:
        """See :data:`~orchestrator.driving.readings.Meter`."""
        total, now = Metered(), self._clock.steady()
        total.add(self._ended.metered)
        leases = [] if (own := self._own_lease_s()) is None else [own]
        for since, readings in self._latest.values():
            total.add(readings.metered)
            if readings.lease_left_s is not None:
                leases.append(readings.lease_left_s - (now - since))
        groups = merged_groups((self._ended.rate_groups, *(readings.rate_groups for _, readings in self._latest.values())))
        return Readings(metered=total, rate_groups=groups, lease_left_s=min(leases, default=None))


def _by_status(counts: Counts) -> Counter[Status]:
    found: Counter[Status] = Counter()
    for (status, _), number in counts.items():
        found[status] += number
    return found
