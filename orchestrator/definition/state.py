"""State: one step of a workflow; the input of its handlers (:class:`Step`) and their results (:class:`Outcome`,
:class:`Recovery`)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum, StrEnum
from random import Random
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import attrs

from orchestrator.clock import Clock
from orchestrator.definition.retry_policy import RetryPolicy

C = TypeVar("C")
"""The context class of a workflow (a frozen attrs class)."""
S = TypeVar("S")
"""The services class of a workflow; all instances of a process share one object of it."""

DONE = "done"
"""The default outcome."""


@attrs.frozen(slots=False)
class Outcome(Generic[C]):
    """How a state ended, and the new context of the instance."""

    name: str
    context: C


def done(context: C) -> Outcome[C]:
    """The outcome ``done``."""
    return Outcome(DONE, context)


class Recovery(Enum):
    """Results of ``recover`` if it did not find the effect."""

    NOT_FOUND = "not found"
    """The effect certainly does not exist: the driver runs the state again."""
    UNKNOWN = "unknown"
    """Not known yet: the driver calls ``recover`` again under the retry policy, then rolls back."""


class Repeat(StrEnum):
    """How a state may be repeated after an attempt whose request may have reached the other side."""

    FREELY = "freely"
    """``run`` is called again: the state only reads, or repeating is harmless."""
    AFTER_RECOVERY = "after recovery"
    """``recover`` is called first."""
    NEVER = "never"
    """Never: an attempt with unknown effect leads to rollback."""


@attrs.frozen(kw_only=True)
class Effect:
    """An object that a state created on the other side, described so that a person can find it."""

    kind: str
    """E.g. ``application``."""
    name: str
    id: str | None = None
    """``None`` while its answer is missing: the object may or may not exist."""


@attrs.frozen
class Back:
    """A transition to the same or an earlier state, allowed ``at_most`` times in a row.

    The count is reset when the state ends with an outcome that leads forward.
    """

    target: str
    at_most: int | None = attrs.field(validator=(attrs.validators.instance_of(int), attrs.validators.ge(1)))


@attrs.frozen
class NextRound(Back):
    """The backward transition that begins another round. The scenario limits it: a state may take it if
    ``step.another_round`` is true."""

    at_most: int | None = attrs.field(init=False, default=None)


@attrs.frozen(kw_only=True, slots=False)
class Step(Generic[C, S]):
    """The argument of a handler: one attempt at one state of one instance."""

    run_id: str
    number: int
    """Number of the instance in the run, from 0."""
    attempt: int
    """1 for the first attempt since the state was entered; a resume continues the count."""
    context: C
    services: S
    clock: Clock
    rng: Random
    another_round: bool = False
    """Whether the scenario wants another round of this instance."""
    may_have_run: bool = False
    """Whether an earlier attempt at this state may have had its effect. A search that finds nothing may have been too early."""

    @property
    def instance_id(self) -> str:
        """Unique, and the same in every process that drives this instance. Derive the names of effects from it."""
        return f"{self.run_id}-{self.number}"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class State(ABC, Generic[C, S]):
    """One step of a workflow; write one subclass per step. For a step that only reads or computes, a function with the
    decorator :func:`~orchestrator.state` is enough.

    Handlers get a frozen context and return a new one, so a cancelled handler has changed nothing. They report a failure
    by raising a :class:`~orchestrator.errors.StepError`; any other exception is a bug, and the instance is kept as it is,
    with the trace.
    """

    name: ClassVar[str]
    """The name that users see; by default the class name in snake_case."""
    outcomes: ClassVar[frozenset[str]] = frozenset({DONE})
    """Every outcome that ``run`` or ``recover`` may return."""
    transitions: ClassVar[Mapping[str, str | Back]]
    """Outcome → next state or end of the workflow; a backward transition as :class:`Back`."""
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    rollback_retry: ClassVar[RetryPolicy] = RetryPolicy(attempts=10, deadline=timedelta(minutes=10))
    timeout: ClassVar[timedelta] = timedelta(seconds=30)
    """Time limit of one attempt."""
    rate_group: ClassVar[str | None] = None
    """The rate limit that its attempts count against."""
    repeat: ClassVar[Repeat] = Repeat.AFTER_RECOVERY
    version: ClassVar[int] = 1
    """Increase it when the state changes so that an instance in it, stored under the old version, must not continue."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = _snake_case(cls.__name__)

    @abstractmethod
    async def run(self, step: Step[C, S]) -> Outcome[C]:
        """Make one attempt; the driver retries."""

    async def recover(self, step: Step[C, S]) -> Outcome[C] | Recovery:
        """Search for the effect of an attempt whose answer is missing.

        Called before ``run`` is repeated: after a crash, a time-out, a broken connection, a 5xx. It may return any declared
        outcome: ``done`` adopts the effect, another one takes its transition.
        """
        raise NotImplementedError(f"{self.name} has no recover handler")

    async def rollback(self, step: Step[C, S]) -> None:
        """Remove the effect of this state. Called for a completed state and for one that failed, any number of times: an
        effect that does not exist counts as removed."""

    def effect(self, step: Step[C, S]) -> Effect | None:
        """The effect of this state, for people; ``None``: it has no lasting effect.

        Use ids and context only: ``step.services`` is ``None`` here. A state without a ``rollback`` may have an effect that
        is removed together with another one.
        """
        return None

    @property
    def can_recover(self) -> bool:
        """Whether the class has a ``recover`` handler."""
        return type(self).recover is not State.recover

    @property
    def can_roll_back(self) -> bool:
        """Whether the class has a ``rollback`` handler."""
        return type(self).rollback is not State.rollback


AnyState: TypeAlias = State[Any, Any]
"""A state where its context and its services do not matter."""
