"""What comes next for an instance: pure functions from what happened to what to do.

Rules of this file:

* No I/O, no clock, no randomness but what is passed in.
* A doubtful attempt is never answered by plainly running the state again, unless the state says *freely*.
* Every failure ends somewhere: retried within the policy, then rolled back or kept. Nothing waits for ever.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import Any

import attrs

from orchestrator.definition.state import C, NextRound, Outcome, Recovery, Repeat, State
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import AmbiguousError, ExpiredError, PermanentError, StepError, TransientError, UndeclaredOutcomeError
from orchestrator.lifecycle.instance import Failure, Instance


class OnFailure(StrEnum):
    """What happens to an instance that cannot go on."""

    ROLLBACK = "rollback"
    KEEP = "keep"


class OnSuccess(StrEnum):
    """What happens to what a completed instance made."""

    KEEP = "keep"
    TEARDOWN = "teardown"


@attrs.frozen
class Failed:
    """An attempt ended with an exception; ``trace`` is there when it was a bug."""

    error: Exception
    trace: str | None = None


@attrs.frozen
class Retry:
    """Try again in ``wait`` seconds, after a look if ``doubt``."""

    failure: Failure
    doubt: bool
    wait: float


@attrs.frozen
class RunNow:
    """The look found nothing: the state may be run."""


@attrs.frozen
class RollBack:
    """Walk the trail back; ``doubt``: the state that failed may have had its effect all the same."""

    failure: Failure
    doubt: bool


@attrs.frozen
class Keep:
    """Leave the instance as it is; ``doubt`` as for :class:`RollBack`."""

    failure: Failure
    doubt: bool


@attrs.frozen
class Undone:
    """The newest state of the trail is rolled back."""


@attrs.frozen
class Leave:
    """The newest state of the trail could not be rolled back: list it and go on with the one before."""

    failure: Failure


def decide(
    workflow: Workflow[C, Any],
    instance: Instance[C],
    result: object,
    *,
    on_failure: OnFailure,
    another_round: bool,
    spent: float,
    rng: Random,
) -> Outcome[C] | Retry | RunNow | RollBack | Keep:
    """What follows an attempt at ``run`` or ``recover`` of the state that the instance stands in; an outcome: the
    transition behind it.

    Args:
        another_round: Whether the scenario wants another round; a state that begins one unasked has a bug.
        spent: Seconds since the state was entered, or the instance resumed in it.
    """
    state = workflow.state_named[instance.position]
    if instance.doubt and result is Recovery.NOT_FOUND:
        return RunNow()
    result = _understood(workflow, instance, state, result, another_round)
    if isinstance(result, Outcome):
        return result

    error, attempt = result.error, instance.failures + 1
    if not isinstance(error, StepError):
        # Nobody knows how far a handler with a bug came.
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
    state: State[C, Any], instance: Instance[C], result: Failed | None, *, spent: float, rng: Random
) -> Undone | Retry | Leave:
    """What follows an attempt at ``rollback`` of the newest state on the trail; ``None``: it succeeded.

    A rollback may always be repeated, so an ambiguous failure is an ordinary one here.
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


def _understood(
    workflow: Workflow[C, Any], instance: Instance[C], state: State[C, Any], result: object, another_round: bool
) -> Outcome[C] | Failed:
    """What a handler answered, as an outcome that may be taken or a failure."""
    if isinstance(result, Outcome):
        return _check_outcome(workflow, instance, state, result, another_round)
    if isinstance(result, Recovery) and not instance.doubt:
        return Failed(TypeError(f"run answered {result}, which is for recover to say"))
    if result is Recovery.UNKNOWN:
        return Failed(AmbiguousError("it could not be told whether an earlier attempt had its effect"))
    if isinstance(result, Failed) and isinstance(result.error, ExpiredError):
        outcome = Outcome(result.error.outcome, instance.context)
        return _check_outcome(workflow, instance, state, outcome, another_round, why=f"{result.error.message}; ")
    return (
        result if isinstance(result, Failed) else Failed(TypeError(f"a handler answered {type(result).__name__}, not an Outcome"))
    )


def _check_outcome(
    workflow: Workflow[C, Any],
    instance: Instance[C],
    state: State[C, Any],
    outcome: Outcome[C],
    another_round: bool,
    why: str = "",
) -> Outcome[C] | Failed:
    if type(outcome.context) is not workflow.context:
        found = type(outcome.context).__name__
        return Failed(TypeError(f"the outcome {outcome.name!r} came with a {found}, not with a {workflow.context.__name__}"))
    if outcome.name not in state.outcomes:
        return Failed(UndeclaredOutcomeError(state.name, outcome.name, state.outcomes))
    back = workflow.back(state.name, outcome.name)
    if back and back.at_most is not None and instance.backward.get(f"{state.name}.{outcome.name}", 0) >= back.at_most:
        times = f"{back.at_most} time{'s' if back.at_most > 1 else ''}"
        return Failed(
            PermanentError(
                f"{why}{outcome.name!r} led back to {back.target!r} {times} in a row, which is the most allowed", code="bound"
            )
        )
    if isinstance(back, NextRound) and not another_round:
        return Failed(RuntimeError(f"{outcome.name!r} begins another round though step.another_round said that none is wanted"))
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
    """An exception as it is stored and shown."""
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
    """What a handler said, as text that every store takes (one that quotes bytes may hold halves of characters)."""
    return str(said).encode("utf-8", "replace").decode()
