"""Instance: one execution of a workflow, its status and its failures."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Generic, TypeAlias

import attrs

from orchestrator.definition.state import C, Effect


class Status(StrEnum):
    """The overall status of an instance."""

    PENDING = "pending"
    """Belongs to the run but has not been admitted."""
    RUNNING = "running"
    SUSPENDED = "suspended"
    """Interrupted, between attempts or during one; resumable."""
    COMPLETED = "completed"
    ROLLING_BACK = "rolling_back"
    """Resumable as well."""
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"
    """Kept as it is, by policy or because of a bug."""
    ROLLBACK_FAILED = "rollback_failed"
    """Effects are left over and listed; ``cleanup`` tries to remove them again."""

    __hash__ = str.__hash__  # that of Enum is written in Python, and each step looks up its status several times


TERMINAL = frozenset({Status.COMPLETED, Status.ROLLED_BACK, Status.FAILED, Status.ROLLBACK_FAILED})
"""Final statuses: only an explicit command of the user changes them."""
RESUMABLE = frozenset(Status) - TERMINAL
NOT_COMPLETED = TERMINAL - {Status.COMPLETED}
"""Final statuses of instances that did not reach their end: failures, in every count."""

CUT_OFF = "cut off"
"""Failure kind of an instance that was still running at the end of the graceful stop."""


@attrs.frozen(kw_only=True)
class Failure:
    """The failure of an attempt, as it is stored and shown."""

    kind: str
    """``transient``, ``ambiguous``, ``permanent``, ``exhausted``, ``bug`` …"""
    message: str
    state: str
    attempt: int
    code: str | None = None
    trace: str | None = None
    """Traceback; for bugs only."""


@attrs.frozen(kw_only=True)
class Again:
    """How an instance was last continued after its end."""

    how: str
    """``retry`` or ``cleanup``."""
    seq: int
    """Number of the stored event that continued it."""
    at: float
    """When, as Unix time."""


@attrs.frozen(kw_only=True)
class Leftover:
    """An effect that could not be removed."""

    state: str
    effect: Effect
    error: str


@attrs.frozen(kw_only=True, slots=False)  # no slots: a copy is one update of its dictionary
class Instance(Generic[C]):
    """The complete state of one instance, as a checkpoint holds it. Times are Unix seconds."""

    run_id: str
    number: int
    definition: str
    """Fingerprint of the definition under which it was stored."""
    version: int
    """Version of that definition."""
    status: Status
    position: str
    """Its state, an end of the workflow, or a station of the engine (see :mod:`orchestrator.definition.machine`)."""
    context: C
    trail: tuple[str, ...] = ()
    """States whose effect exists or may exist, in order; a rollback goes through them backward. A state that is completed
    again moves to the end, so the trail is never longer than the definition."""
    failures: int = 0
    """Failed attempts at the current state, or at its rollback."""
    doubt: bool = False
    """An earlier attempt at this state may have had its effect: recover before repeating."""
    may_have_run: tuple[str, ...] = ()
    """States that were in doubt at any time. A recovery that found nothing may have been too early, so the rollback of
    these states searches longer."""
    not_before: float | None = None
    """When the next attempt is due; ``None``: at once. Drivers wait by the steady clock and read this only on resume."""
    due: float = 0.0
    """When it should have started, in seconds of the scenario. It starts later if it has to wait for a free slot."""
    rounds: int = 0
    """Rounds finished."""
    backward: Mapping[str, int] = attrs.field(factory=dict)
    """``state.outcome`` → how often in a row this backward transition was taken."""
    final_status: Status | None = None
    """While rolling back: its final status if nothing is left over."""
    ends_at: str | None = None
    """While tearing down: the end that it has reached."""
    failure: Failure | None = None
    """The failure that stopped it, or the latest failure in its current state."""
    rollback_failure: Failure | None = None
    """The latest failure of its rollback."""
    leftovers: tuple[Leftover, ...] = ()
    again: Again | None = None
    """``None``: it was never continued after its end."""
    history: int = 0
    """Number of stored events when it was loaded; its driver continues the count."""
    created_at: float
    updated_at: float

    @property
    def id(self) -> str:
        """Unique over all runs: ``<run id>-<number>``."""
        return f"{self.run_id}-{self.number}"


AnyInstance: TypeAlias = Instance[Any]
"""An instance where its context does not matter."""
