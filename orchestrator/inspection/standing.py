"""The status of a run in words, with the processes that drive it. Needs no key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from orchestrator.clock import SystemClock
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.storage.lease import Owner, is_gone
from orchestrator.storage.records import Shard

_DRIVEN_OR_NOT = {
    RunStatus.RUNNING: ("running", "interrupted (its process is gone)"),
    RunStatus.RETRYING: ("being retried", "retry interrupted"),
    RunStatus.ROLLING_BACK: ("an instance is being rolled back", "rollback of an instance interrupted"),
    RunStatus.CLEANING_UP: ("being cleaned up", "clean-up interrupted"),
}
"""Status → in words, while a process drives the run and while none does."""


def standing(record: RunRecord, shards: Sequence[Shard]) -> str:
    """The status of a run. After a crash the store still says *running*, so the processes are checked."""
    if record.status not in _DRIVEN_OR_NOT:
        return record.status.value
    driven, left = _DRIVEN_OR_NOT[record.status]
    drivers = dict.fromkeys(who for shard in shards if (who := driver(shard)) is not None)
    if drivers:
        return f"{driven} ({'; '.join(drivers)})"
    return left if any(shard.epoch for shard in shards) else "stored, not driven yet"


def driver(shard: Shard) -> str | None:
    """The process that drives a shard, and until when its lease lasts; ``None`` if no process does."""
    if shard.owner is None or shard.lease_until <= SystemClock().now():
        return None
    owner = Owner.loads(shard.owner)
    return None if is_gone(owner) else f"{owner}, lease until {local_time(shard.lease_until)}"


def local_time(at: float) -> str:
    """Date and time of day in the zone of this machine."""
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
