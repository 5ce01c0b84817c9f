"""Where a run stands, in words: its status, and the process that drives it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from orchestrator.clock import SystemClock
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.storage.base import Shard
from orchestrator.storage.lease import Owner, is_gone


def standing(record: RunRecord, shards: Sequence[Shard]) -> str:
    """The status of a run as it is: one whose process died says *running* in the store."""
    under_way = {
        RunStatus.RUNNING: ("running", "interrupted (its process is gone)"),
        RunStatus.RETRYING: ("being retried", "retry interrupted"),
        RunStatus.CLEANING_UP: ("being cleaned up", "clean-up interrupted"),
    }
    if record.status not in under_way:
        return record.status.value
    driven, left = under_way[record.status]
    drivers = dict.fromkeys(who for shard in shards if (who := driver(shard)))
    if not drivers:
        return "stored, not driven yet" if not any(shard.epoch for shard in shards) else left
    return f"{driven} ({'; '.join(drivers)})"


def driver(shard: Shard | None) -> str | None:
    """Who drives a shard now, and until when."""
    now = SystemClock().now()
    if shard is None or shard.owner is None or shard.lease_until <= now or is_gone(Owner.loads(shard.owner)):
        return None
    return f"{Owner.loads(shard.owner)}, lease until {when(shard.lease_until)}"


def when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
