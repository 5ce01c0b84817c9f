"""Decisions: pure functions from the result of an attempt to the next action of the driver.

Rules of this file:

* No I/O and no clock; the random generator is passed in.
* A state whose attempt may have had its effect is never simply run again, unless it may be repeated freely.
* Every failure is retried within the policy, then rolled back or kept. No instance waits for ever.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random

import attrs

from orchestrator.definition.state import C, NextRound, Outcome, Recovery, Repeat, S, State
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import AmbiguousError, ExpiredError, PermanentError, StepError, TransientError, UndeclaredOutcomeError
from orchestrator.lifecycle.instance import Failure, Instance


class OnFailure(StrEnum):
    """The policy for an instance that fails."""

    ROLLBACK = "rollback"
    KEEP = "keep"


class OnSuccess(StrEnum):
    """The policy for the effects of a completed instance."""

    KEEP = "keep"
    TEARDOWN = "teardown"


@attrs.frozen
class Failed:
    """An attempt ended with an exception. ``trace`` is set if it is a bug."""

    error: Exception
    trace: str | None = None


@attrs.frozen
class Retry:
    """Try again after ``wait`` seconds; with ``doubt``, recover first."""

    failure: Failure
    doubt: bool
    wait: float


@attrs.frozen
class RunNow:
    """Recovery found no effect: the state may run."""


@attrs.frozen
class RollBack:
    """Roll back the trail; ``doubt``: the state that failed may have had its effect."""

    failure: Failure
    doubt: bool


@attrs.frozen
class Keep:
    """Keep the instance as it is; ``doubt`` as in :class:`RollBack`."""

    failure: Failure
    doubt: bool


@attrs.frozen
class Undone:
    """The newest state of the trail has been rolled back."""


@attrs.frozen
class Leave:
    """The newest state of the trail cannot be rolled back: list it as a leftover and continue with the state before."""

    failure: Failure


def decide(
    workflow: Workflow[C, S],
    instance: Instance[C],
    result: object,
    *,
    on_failure: OnFailure,
    another_round: bool,
    spent: float,
    rng: Random,
) -> Outcome[C] | Retry | RunNow | RollBack | Keep:
    """The action after an attempt at ``run`` or ``recover`` of the current state; an outcome means its transition.

    Args:
        result: The object that the handler returned, or a :class:`Failed`.
        another_round: Whether the scenario wants another round; a state that begins one without being asked has a bug.
        spent: Seconds since the state was entered, or since the instance was resumed in it.
    """
    state = workflow.state_named[instance.position]
    if instance.doubt and result is Recovery.NOT_FOUND:
        return RunNow()
    result = _checked(workflow, instance, state, result, another_round)
    if isinstance(result, Outcome):
        return result

    error, attempt = result.error, instance.failures + 1
    if not isinstance(error, StepError):
        # A handler with a bug may have had its effect before it failed.
        return Keep(describe(error, instance.position, attempt, kind="bug", trace=result.trace), doubt=True)
    give_up = RollBack if on_failure is OnFailure.ROLLBACK else Keep
    doubt = instance.doubt or isinstance(error, AmbiguousError)
    if not isinstance(error, TransientError):
        return give_up(describe(error, instance.position, attempt), doubt)
    if isinstance(error, AmbiguousError) and state.repeat is Repeat.NEVER:
        return give_up(describe(error, instance.position, attempt, suffix="; this state may not be repeated"), doubt)
    wait = state.retry.next_wait(error, failures=attempt, spent=spent, rng=rng)
    if wait is None:
        suffix = f" (given up after {attempt} attempts)"
        return give_up(describe(error, instance.position, attempt, kind="exhausted", suffix=suffix), doubt)
    return Retry(describe(error, instance.position, attempt), doubt and state.repeat is not Repeat.FREELY, wait)


def decide_rollback(
    state: State[C, S], instance: Instance[C], result: Failed | None, *, spent: float, rng: Random
) -> Undone | Retry | Leave:
    """The action after an attempt to roll back the newest state of the trail; ``result`` is ``None`` if it succeeded.

    A rollback may always be repeated, so an ambiguous failure is handled like a transient one.
    """
    if result is None:
        return Undone()
    error, attempt = result.error, instance.failures + 1
    if isinstance(error, TransientError):
        wait = state.rollback_retry.next_wait(error, failures=attempt, spent=spent, rng=rng)
        if wait is not None:
            return Retry(describe(error, state.name, attempt), False, wait)
        return Leave(describe(error, state.name, attempt, kind="exhausted", suffix=f" (given up after {attempt} attempts)"))
    kind = None if isinstance(error, StepError) else "bug"
    return Leave(describe(error, state.name, attempt, kind=kind, trace=result.trace))


def _checked(
    workflow: Workflow[C, S], instance: Instance[C], state: State[C, S], result: object, another_round: bool
) -> Outcome[C] | Failed:
    """The result of a handler as an outcome that may be taken, or as a failure."""
    if isinstance(result, Outcome):
        return _check_outcome(workflow, instance, state, result, another_round)
    if isinstance(result, Recovery) and not instance.doubt:
        return Failed(TypeError(f"run returned {result}; only recover may return it"))
    if result is Recovery.UNKNOWN:
        return Failed(AmbiguousError("recovery could not determine whether an earlier attempt had its effect"))
    if isinstance(result, Failed) and isinstance(result.error, ExpiredError):
        outcome = Outcome(result.error.outcome, instance.context)
        return _check_outcome(workflow, instance, state, outcome, another_round, why=f"{result.error.message}; ")
    return (
        result
        if isinstance(result, Failed)
        else Failed(TypeError(f"a handler returned a {type(result).__name__}, not an Outcome"))
    )


def _check_outcome(
    workflow: Workflow[C, S],
    instance: Instance[C],
    state: State[C, S],
    outcome: Outcome[C],
    another_round: bool,
    why: str = "",
) -> Outcome[C] | Failed:
    if type(outcome.context) is not workflow.context:
        found = type(outcome.context).__name__
        return Failed(TypeError(f"the context of the outcome {outcome.name!r} is a {found}, not a {workflow.context.__name__}"))
    if outcome.name not in state.outcomes:
        return Failed(UndeclaredOutcomeError(state.name, outcome.name, state.outcomes))
    back = workflow.back(state.name, outcome.name)
    if back and back.at_most is not None and instance.backward.get(f"{state.name}.{outcome.name}", 0) >= back.at_most:
        times = f"{back.at_most} time{'s' if back.at_most > 1 else ''}"
        return Failed(
            PermanentError(f"{why}{outcome.name!r} led back to {back.target!r} {times} in a row, the maximum", code="bound")
        )
    if isinstance(back, NextRound) and not another_round:
        return Failed(RuntimeError(f"{outcome.name!r} begins another round although step.another_round is false"))
    return outcome


_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (AmbiguousError, "ambiguous"),
    (TransientError, "transient"),
    (ExpiredError, "expired"),
    (StepError, "permanent"),
)


def describe(
    error: Exception, state: str, attempt: int, *, kind: str | None = None, suffix: str = "", trace: str | None = None
) -> Failure:
    """An exception as a :class:`Failure`."""
    named = kind or next((name for cls, name in _KINDS if isinstance(error, cls)), "bug")
    text = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}"
    code = error.code if isinstance(error, StepError) else None
    return Failure(
        kind=named,
        message=storable(text + suffix),
        state=state,
        attempt=attempt,
        code=None if code is None else storable(code),
        trace=None if trace is None else storable(trace),
    )


def storable(said: object) -> str:
    """The text of a handler without lone surrogates, which no store accepts (text that quotes bytes may contain them)."""
    return str(said).encode("utf-8", "replace").decode()
