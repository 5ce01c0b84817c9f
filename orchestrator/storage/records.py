"""Shards, checkpoints and measurements as a store keeps them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import Status

STAGING_LIMIT_S = 86_400.0
"""Time limit for adding the rows of a run and creating it. Only owners on other machines need it."""

HISTORY_HEAD = 100
HISTORY_TAIL = 100
"""Events kept per instance: the first ones and the latest. Keeping all of them would fill the disk in a soak."""


@attrs.frozen(kw_only=True)
class Shard:
    """A part of a run and its owner: the instances with ``number % of == index``. Times are Unix seconds."""

    run_id: str
    index: int = 0
    of: int = 1
    """Number of shards in the run."""
    epoch: int = 0
    owner: str | None = None
    """Stored form of an :class:`~orchestrator.storage.lease.Owner`."""
    lease_until: float = 0.0
    elapsed: float = 0.0
    """Seconds of the scenario that have passed on this shard."""
    done: bool = False
    """The shard is finished: every admitted instance has a terminal status, and no other instance will be admitted."""
    stop_epoch: int = 0
    """The claim that was asked to stop (see :meth:`Store.ask_to_stop`)."""

    @property
    def must_stop(self) -> bool:
        """Whether its present claim was asked to stop."""
        return self.owner is not None and self.epoch == self.stop_epoch

    def owns(self, number: int) -> bool:
        """Whether the instance belongs to this shard."""
        return number % self.of == self.index


@attrs.frozen(kw_only=True, slots=False)
class Checkpoint:
    """The stored form of an instance: ``body`` holds all of it, the other fields are the clear text that lists need."""

    run_id: str
    number: int
    status: Status
    position: str
    updated_at: float
    not_before: float | None
    body: bytes
    effects: tuple[str, ...] | None = None
    """Kinds of the effects that exist, one entry per effect; ``None``: only the decoded checkpoint knows."""
    evidence: bytes | None = None
    """Sealed exchanges that preceded the failure; appended to the stored evidence."""


@attrs.frozen
class Save:
    """A checkpoint to insert or replace, with the events that led to it."""

    shard: Shard
    checkpoint: Checkpoint
    events: Sequence[Event]


@attrs.frozen
class StoredWindow:
    """A stored window of statistics; ``seq`` numbers the windows of a process."""

    shard: int
    epoch: int
    seq: int
    body: bytes


@attrs.frozen
class StoreFacts:
    """The condition of a store, for people."""

    text: str
    """Its software, version and durability."""
    problem: str | None = None
    """Why a commit may be lost; ``None``: it is durable."""
