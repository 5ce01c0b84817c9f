"""The decorator ``@state``: a state from a function, for steps that only read or compute."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeAlias

from orchestrator.definition.retry_policy import RetryPolicy
from orchestrator.definition.state import Back, C, Outcome, Repeat, S, State, Step

Run: TypeAlias = Callable[[Step[C, S]], Awaitable[Outcome[C]]]


def state(
    *,
    transitions: Mapping[str, str | Back],
    name: str | None = None,
    retry: RetryPolicy = State.retry,
    timeout: timedelta = State.timeout,
    rate_group: str | None = None,
    version: int = 1,
) -> Callable[[Run[C, S]], State[C, S]]:
    """Turn an async function into a state that may be repeated freely and has nothing to roll back::

        @state(transitions={"done": "label"})
        async def weigh(step: Step[ParcelContext, Scales]) -> Outcome[ParcelContext]:
            return done(attrs.evolve(step.context, grams=await step.services.weigh(step.context.parcel)))

    A state that creates something needs a class (:class:`~orchestrator.State`): it must recover and roll back. The workflow
    checks both forms when it is built.

    Args:
        transitions: Outcome → next state or end of the workflow. Its keys are the outcomes that the function may return.
        name: The name that users see; by default that of the function.

    Raises:
        TypeError: The decorated object is not an async function.
    """

    def decorate(run: Run[C, S]) -> State[C, S]:
        if not inspect.iscoroutinefunction(run):
            raise TypeError(f"@state needs an async function, not {run!r}")
        members = {
            "__doc__": run.__doc__,
            "__module__": run.__module__,
            "__qualname__": run.__qualname__,
            "name": name or run.__name__,
            "outcomes": frozenset(transitions),
            "transitions": dict(transitions),
            "retry": retry,
            "timeout": timeout,
            "rate_group": rate_group,
            "repeat": Repeat.FREELY,
            "version": version,
            "run": staticmethod(run),
        }
        made: State[C, S] = type(run.__name__, (State,), members)()
        return made

    return decorate
