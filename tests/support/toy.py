"""A workflow without a network: a script sets the results of its states, and a ledger records their calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import attrs

from orchestrator import (
    Back,
    Effect,
    Options,
    Outcome,
    Recovery,
    Repeat,
    RetryPolicy,
    Secret,
    ServiceContext,
    State,
    Step,
    Vault,
    Workflow,
    done,
)
from tests.support.clock import SPEED, FastClock

Act = Callable[[Step["ToyContext", "Ledger"]], Awaitable[Any] | Any]


@attrs.frozen(kw_only=True)
class ToyContext:
    """Has a counter, and a secret."""

    made: tuple[str, ...] = ()
    secret: Secret = Secret("toy-secret-value")
    rounds: int = 0


@attrs.define
class Ledger:
    """The external system: its objects, and all calls. ``script`` replaces the success of a call."""

    existing: list[str] = attrs.field(factory=list)
    calls: list[str] = attrs.field(factory=list)
    script: dict[str, list[Any]] = attrs.field(factory=dict)
    opening: ServiceContext | None = None

    async def call(self, name: str, step: Step[Any, Any]) -> Any:
        """Record the call; play the next entry of its script: an exception, an outcome, or a function."""
        self.calls.append(name)
        queue = self.script.get(name, [])
        act = queue.pop(0) if queue else None
        if isinstance(act, Exception):
            raise act
        if callable(act):
            act = act(step)
            return await act if isinstance(act, Awaitable) else act
        return act


def key_of(state: str, step: Step[Any, Any]) -> str:
    """The deterministic name of an effect."""
    return f"{state}:{step.number}"


class Making(State[ToyContext, Ledger]):
    """A state that creates one object. A call is ``run one``, ``recover one``, ``rollback one``."""

    retry = RetryPolicy(attempts=3)
    rollback_retry = RetryPolicy(attempts=3)

    async def run(self, step: Step[ToyContext, Ledger]) -> Outcome[ToyContext]:
        answer = await step.services.call(f"run {self.name}", step)
        if isinstance(answer, Outcome):
            return answer
        step.services.existing.append(key_of(self.name, step))
        return done(attrs.evolve(step.context, made=(*step.context.made, self.name)))

    async def recover(self, step: Step[ToyContext, Ledger]) -> Outcome[ToyContext] | Recovery:
        answer = await step.services.call(f"recover {self.name}", step)
        if answer is not None:
            return answer
        if key_of(self.name, step) in step.services.existing:
            return done(attrs.evolve(step.context, made=(*step.context.made, self.name)))
        return Recovery.NOT_FOUND

    async def rollback(self, step: Step[ToyContext, Ledger]) -> None:
        await step.services.call(f"rollback {self.name}", step)
        if key_of(self.name, step) in step.services.existing:
            step.services.existing.remove(key_of(self.name, step))

    def effect(self, step: Step[ToyContext, Ledger]) -> Effect:
        return Effect(kind="thing", name=key_of(self.name, step))


class One(Making):
    transitions = {"done": "two"}


class Two(Making):
    outcomes = frozenset({"done", "back"})
    transitions = {"done": "three", "back": Back("one", at_most=2)}


class Three(Making):
    transitions = {"done": "completed"}


class Reading(Making):
    """Like the others, but it may be repeated freely."""

    name = "reading"
    transitions = {"done": "completed"}
    repeat = Repeat.FREELY


def toy(ledger: Ledger, *states: State[ToyContext, Ledger], **more: Any) -> Workflow[ToyContext, Ledger]:
    """A workflow over ``ledger``: states one, two and three unless others are given."""

    @asynccontextmanager
    async def open_services(settings: object, opening: ServiceContext) -> AsyncIterator[Ledger]:
        ledger.opening = opening
        yield ledger

    return Workflow(
        name="toy",
        context=more.pop("context", ToyContext),
        states=states or (One(), Two(), Three()),
        initial_context=more.pop("initial_context", lambda run_id, number, settings: ToyContext()),
        open_services=open_services,
        **more,
    )


def fast(vault: Vault, **more: Any) -> Options:
    """Options for a test: a fast clock, a lease that does not expire on a busy machine, repeatable jitter."""
    more.setdefault("lease_s", 30.0 * SPEED)
    return Options(vault=vault, clock=FastClock(), rng=Random(1), **more)
