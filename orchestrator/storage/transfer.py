"""The parts of a run that is copied from one store to another. Encrypted data stays encrypted: the target needs the same key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.records import Checkpoint, Shard, StoredWindow

PART = 200
"""Instances in a part; each has up to 200 events."""


@attrs.frozen
class Evidence:
    """Sealed exchanges of an instance; ``at`` is the Unix time of the checkpoint that stored them."""

    number: int
    at: float
    body: bytes


@attrs.frozen(kw_only=True)
class RunPart:
    """Some instances of a run, in order of their numbers, with all their events and evidence."""

    checkpoints: Sequence[Checkpoint]
    events: Sequence[Event]
    evidence: Sequence[Evidence]


@attrs.frozen(kw_only=True)
class RunFrame:
    """A run without its instances and its input rows. Nobody drives it."""

    run: RunRecord
    shards: Sequence[Shard]
    definitions: Mapping[str, Mapping[str, str]]
    """Definition → fingerprints of its states, for each one that a checkpoint may name."""
    windows: Sequence[StoredWindow]
    pauses: Mapping[str, float]
