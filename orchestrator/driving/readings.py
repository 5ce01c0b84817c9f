"""Readings: the numbers that exporters of metrics read, of one process or of all processes of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import orjson

from orchestrator.driving.limits import RateGroup
from orchestrator.load.metered import Metered


@attrs.frozen(kw_only=True)
class Readings:
    """The measurements since a process began to drive, and its gauges."""

    metered: Metered
    rate_groups: Mapping[str, RateGroup]
    lease_left_s: float | None
    """Seconds until the lease expires, unless it is renewed; of several processes the least; ``None``: no shard is driven."""

    def dumps(self) -> str:
        """As JSON."""
        groups = {name: attrs.astuple(group) for name, group in self.rate_groups.items()}
        data = {"metered": self.metered.data(), "rate_groups": groups, "lease_left_s": self.lease_left_s}
        return orjson.dumps(data).decode()

    @classmethod
    def loads(cls, text: str) -> Readings:
        """The inverse of :meth:`dumps`."""
        data: dict[str, Any] = orjson.loads(text)
        groups = {
            name: RateGroup(per_second=rate, pauses=pauses, paused_s=paused_s, left_s=left_s)
            for name, (rate, pauses, paused_s, left_s) in data["rate_groups"].items()
        }
        return cls(metered=Metered.of(data["metered"]), rate_groups=groups, lease_left_s=data["lease_left_s"])


Meter = Callable[[], Readings]
"""Reads the measurements as they are now."""


def merged_groups(processes: Iterable[Mapping[str, RateGroup]]) -> dict[str, RateGroup]:
    """The rate groups of several processes, as those of one."""
    found: dict[str, RateGroup] = {}
    for groups in processes:
        for name, group in groups.items():
            found[name] = _sum(found[name], group) if name in found else group
    return found


def _sum(one: RateGroup, other: RateGroup) -> RateGroup:
    rates = [group.per_second for group in (one, other) if group.per_second is not None]
    return RateGroup(
        per_second=sum(rates) if rates else None,
        pauses=one.pauses + other.pauses,
        paused_s=one.paused_s + other.paused_s,
        left_s=max(one.left_s, other.left_s),
    )
