"""The rules that every store applies: claims, leases, the status of a run, the length of a history."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import attrs

from orchestrator.errors import LeaseHeldError
from orchestrator.lifecycle.run import RunStatus
from orchestrator.storage.lease import Owner, is_gone
from orchestrator.storage.records import HISTORY_HEAD, HISTORY_TAIL, STAGING_LIMIT_S, Shard


def claimed(shard: Shard, owner: Owner, lease_s: float, now: float) -> Shard:
    """Return the shard as claimed by ``owner``, with a higher epoch.

    An unexpired lease is respected unless its process no longer exists.

    Raises:
        LeaseHeldError: Another process drives the shard.
    """
    if shard.owner is not None and shard.lease_until > now:
        holder = Owner.loads(shard.owner)
        if not is_gone(holder):
            raise LeaseHeldError(shard.run_id, str(holder), shard.lease_until, now)
    return attrs.evolve(shard, epoch=shard.epoch + 1, owner=owner.dumps(), lease_until=now + lease_s, done=False)


def new_shards(run_id: str, count: int, claim: Collection[int], owner: Owner | None, lease_s: float, now: float) -> list[Shard]:
    """Return the shards of a new run; ``owner`` has claimed those with an index in ``claim``."""
    made = [Shard(run_id=run_id, index=index, of=count) for index in range(count)]
    return [claimed(one, owner, lease_s, now) if owner and one.index in claim else one for one in made]


def released(shard: Shard, now: float, *, done: bool) -> Shard:
    """Return the shard without an owner."""
    return attrs.evolve(shard, owner=None, lease_until=now, done=done)


def run_status(shards: Sequence[Shard], meanwhile: RunStatus, now: float) -> RunStatus:
    """Return the status of a run after a process has released its shards.

    Args:
        shards: All shards of the run.
        meanwhile: The status while a process drives the run.
    """
    if all(shard.done for shard in shards):
        return RunStatus.FINISHED
    if drivers_of(shards, now):
        return meanwhile
    return RunStatus.INTERRUPTED if meanwhile is RunStatus.RUNNING else meanwhile


def drivers_of(shards: Iterable[Shard], now: float) -> tuple[str, ...]:
    """The processes that drive these shards: their leases have not expired, and they may still exist."""
    owners = [Owner.loads(shard.owner) for shard in shards if shard.owner is not None and shard.lease_until > now]
    return tuple(dict.fromkeys(str(owner) for owner in owners if not is_gone(owner)))


def rows_missing(run_id: str) -> str:
    """The message for a run whose rows are not there when it is created."""
    return f"the rows of run {run_id} were deleted before it was stored; start it again"


def copy_missing(run_id: str) -> str:
    """The message for a copy that was deleted before it was finished."""
    return f"the copy of run {run_id} was deleted before it was finished; copy it again"


def is_staged(owner: Owner, added_at: float, now: float) -> bool:
    """Whether the owner of data whose run is not stored yet may still store it."""
    return added_at > now - STAGING_LIMIT_S and not is_gone(owner)


def outdated_event(seq: int) -> int | None:
    """The event to delete from an instance's history when event ``seq`` is added; ``None``: delete none."""
    return seq - HISTORY_TAIL if seq > HISTORY_HEAD + HISTORY_TAIL else None
