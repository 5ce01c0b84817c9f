"""State: one step of a workflow, with what a handler is given and what it answers."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum, StrEnum
from random import Random
from typing import ClassVar, Generic, TypeVar

import attrs

from orchestrator.clock import Clock
from orchestrator.definition.retry_policy import RetryPolicy

C = TypeVar("C")
"""The context class of a workflow (a frozen attrs class)."""
S = TypeVar("S")
"""The services class of a workflow: what all instances of a process share."""

DONE = "done"
"""The outcome of a state that has nothing else to say."""


@attrs.frozen(slots=False)
class Outcome(Generic[C]):
    """How a state ended, and the context that the instance carries on."""

    name: str
    context: C


def done(context: C) -> Outcome[C]:
    """The ordinary outcome."""
    return Outcome(DONE, context)


class Recovery(Enum):
    """What ``recover`` answers when it did not find the effect."""

    NOT_FOUND = "not found"
    """The effect is certainly not there: the driver runs the state again."""
    UNKNOWN = "unknown"
    """It cannot be told yet: the driver looks again under the retry policy, then rolls back."""


class Repeat(StrEnum):
    """How a state may be repeated once a request of it may have reached the other side."""

    FREELY = "freely"
    """It only reads, or repeating does no harm: ``run`` is simply called again."""
    AFTER_RECOVERY = "after recovery"
    """``recover`` is called first."""
    NEVER = "never"
    """Neither: a doubtful attempt goes to rollback."""


@attrs.frozen(kw_only=True)
class Effect:
    """Something that a state made outside, as a person would look for it."""

    kind: str
    """What it is, e.g. ``application``."""
    name: str
    id: str | None = None
    """``None`` while its answer has not been seen: it may or may not exist."""


@attrs.frozen
class Back:
    """A transition to this state or an earlier one, which may happen ``at_most`` times in a row.

    The count starts anew when the state ends with an outcome that leads ahead.
    """

    target: str
    at_most: int | None = attrs.field(validator=(attrs.validators.instance_of(int), attrs.validators.ge(1)))


@attrs.frozen
class NextRound(Back):
    """The way back by which an instance begins another round. The scenario bounds it: a state takes it when
    ``step.another_round`` says so."""

    at_most: int | None = attrs.field(init=False, default=None)


@attrs.frozen(kw_only=True, slots=False)
class Step(Generic[C, S]):
    """What a handler is given: one attempt at one state of one instance."""

    run_id: str
    number: int
    """Which instance of the run, counted from 0."""
    attempt: int
    """1 for the first attempt since the state was entered; goes on counting after a resume."""
    context: C
    services: S
    clock: Clock
    rng: Random
    another_round: bool = False
    """Whether the scenario wants another round of this instance after this one."""
    may_have_run: bool = False
    """An attempt at this state was in doubt at some time: a look that finds nothing may have come too early."""

    @property
    def instance_id(self) -> str:
        """Unique, and the same in every process that ever drives this instance: what names derive from."""
        return f"{self.run_id}-{self.number}"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class State(ABC, Generic[C, S]):
    """One step of a workflow; subclass it, one class a step.

    Handlers get a frozen context and return a new one, so that a cancelled handler has changed nothing. What
    they say of a failure is a :class:`~orchestrator.errors.StepError`; any other exception is a bug: the
    instance is kept as it is, with the trace.
    """

    name: ClassVar[str]
    """How users see it; the class name in snake_case unless given."""
    outcomes: ClassVar[frozenset[str]] = frozenset({DONE})
    """Every outcome that ``run`` or ``recover`` may end with."""
    transitions: ClassVar[Mapping[str, str | Back]]
    """For each outcome the next state, or an end of the workflow; a backward one as :class:`Back`."""
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    rollback_retry: ClassVar[RetryPolicy] = RetryPolicy(attempts=10, deadline=timedelta(minutes=10))
    timeout: ClassVar[timedelta] = timedelta(seconds=30)
    """Of one attempt."""
    rate_group: ClassVar[str | None] = None
    """Which of the run's rates its attempts count against."""
    repeat: ClassVar[Repeat] = Repeat.AFTER_RECOVERY
    version: ClassVar[int] = 1
    """Raise it when what the state does changes in a way that an instance standing in it must not cross."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = _snake_case(cls.__name__)

    @abstractmethod
    async def run(self, step: Step[C, S]) -> Outcome[C]:
        """Do it. One attempt; the driver retries."""

    async def recover(self, step: Step[C, S]) -> Outcome[C] | Recovery:
        """Look for the effect of an attempt whose answer was never seen.

        Called before anything is repeated: after a crash, a time-out, a broken connection, a 5xx. Any declared
        outcome may be returned: ``done`` adopts what was found, another one goes where it says.
        """
        raise NotImplementedError(f"{self.name} has no recover handler")

    async def rollback(self, step: Step[C, S]) -> None:
        """Remove what this state made. Called for a completed state and for one that failed, any number of
        times: what is not there, or never was, is success."""

    def effect(self, step: Step[C, S]) -> Effect | None:
        """What this state makes outside, for people; ``None`` for nothing that lasts.

        Described from ids and context alone: ``step.services`` is ``None`` here. A state without a ``rollback``
        of its own may have an effect that goes away with another one's.
        """
        return None

    @property
    def can_recover(self) -> bool:
        """Whether the class brings a ``recover`` handler."""
        return type(self).recover is not State.recover

    @property
    def can_roll_back(self) -> bool:
        """Whether the class brings a ``rollback`` handler."""
        return type(self).rollback is not State.rollback
