"""The step after an attempt: its decision turned into the next instance and the events to store with it.

Nothing here awaits or changes the driver: :class:`FollowUp` is returned, and the driver stores it.
"""

from __future__ import annotations

from typing import Generic

import attrs

from orchestrator.definition.state import C, Effect, NextRound, Outcome, S
from orchestrator.driving.attempt import Attempt
from orchestrator.driving.drive_context import DriveContext
from orchestrator.driving.event_log import EventLog
from orchestrator.lifecycle import moves
from orchestrator.lifecycle.decision import (
    Failed,
    Keep,
    Leave,
    OnFailure,
    OnSuccess,
    Retry,
    RollBack,
    RunNow,
    Undone,
    decide,
    decide_rollback,
)
from orchestrator.lifecycle.events import Event, EventKind
from orchestrator.lifecycle.instance import CUT_OFF, Failure, Instance, Leftover, Status


@attrs.define
class FollowUp(Generic[C]):
    """The instance to store next, with its events."""

    then: Instance[C]
    events: tuple[Event, ...]
    wait: float | None = None
    """Seconds from the end of the attempt until the next one; ``None``: no wait was decided."""
    moved: bool = False
    """Whether the instance has left its state, so that the next state is due after ``wait``."""
    new_round: bool = False


def after_attempt(drive: DriveContext[C, S], log: EventLog[C, S], here: Instance[C], attempt: Attempt[C, S]) -> FollowUp[C]:
    """The step after an attempt that has ended."""
    if attempt.is_rollback:
        return _after_rollback(drive, log, here, attempt)
    workflow, now = drive.workflow, drive.clock.now()
    match decide(
        workflow,
        here,
        attempt.result,
        on_failure=drive.on_failure,
        another_round=attempt.step.another_round,
        spent=attempt.spent,
        rng=drive.rng,
    ):
        case Outcome(outcome, context):
            again = isinstance(workflow.back(here.position, outcome), NextRound)
            pause = drive.admission.pause(here.number, here.rounds + 1) if again else 0.0
            then = moves.advance(workflow, here, outcome, context, now, pause=pause)
            events = [log.make(EventKind.MOVED, here, attempt, outcome=outcome, target=then.position)]
            if then.status is Status.COMPLETED and drive.on_success is OnSuccess.TEARDOWN:
                events.append(log.make(EventKind.ROLLING_BACK, here, state=then.position))
                then = moves.roll_back(workflow, then, now)
            return FollowUp(then, tuple(events), wait=pause, moved=True, new_round=again)
        case RunNow():
            return FollowUp(moves.effect_not_found(here, now), (log.make(EventKind.NOT_FOUND, here, attempt),))
        case Retry(failure, doubt, wait):
            then = moves.retry(workflow, here, failure, doubt=doubt, wait=wait, now=now)
            return FollowUp(then, (log.make(EventKind.RETRY, here, attempt, failure=failure),), wait=wait)
        case RollBack(failure, doubt):
            then = moves.roll_back(workflow, here, now, failure=failure, doubt=doubt)
            return FollowUp(then, (log.make(EventKind.ROLLING_BACK, here, attempt, failure=failure),))
        case Keep(failure, doubt):
            then = moves.keep(workflow, here, failure, now, doubt=doubt)
            return FollowUp(then, (log.make(EventKind.FAILED, here, attempt, failure=failure),))


def _after_rollback(drive: DriveContext[C, S], log: EventLog[C, S], here: Instance[C], attempt: Attempt[C, S]) -> FollowUp[C]:
    """The step after an attempt to roll back the newest state of the trail."""
    workflow, now = drive.workflow, drive.clock.now()
    failed = attempt.result if isinstance(attempt.result, Failed) else None
    match decide_rollback(attempt.state, here, failed, spent=attempt.spent, rng=drive.rng):
        case Undone():
            return FollowUp(moves.undone(workflow, here, now), (log.make(EventKind.UNDONE, here, attempt),))
        case Retry(failure, doubt, wait):
            then = moves.retry(workflow, here, failure, doubt=doubt, wait=wait, now=now)
            return FollowUp(then, (log.make(EventKind.RETRY, here, attempt, failure=failure),), wait=wait)
        case Leave(failure):
            then = moves.undone(workflow, here, now, leftover=_leftover(here, attempt, failure))
            return FollowUp(then, (log.make(EventKind.LEFT_OVER, here, attempt, failure=failure),))


def _leftover(here: Instance[C], attempt: Attempt[C, S], failure: Failure) -> Leftover:
    state = attempt.state
    try:
        # Without services, as in a report: the effect is described from the context alone.
        effect = state.effect(attrs.evolve(attempt.step, services=None))  # type: ignore[arg-type]  # see `State.effect`
    except Exception:  # noqa: BLE001  # a leftover is listed even if it cannot be described
        effect = None
    return Leftover(state=state.name, effect=effect or Effect(kind=state.name, name=here.id), error=failure.message)


def after_unstorable_result(
    drive: DriveContext[C, S], log: EventLog[C, S], here: Instance[C], attempt: Attempt[C, S], error: Exception
) -> FollowUp[C]:
    """The handler returned a context that cannot be stored: keep the instance with its last context."""
    failure = Failure(kind="bug", message=str(error), state=here.position, attempt=here.failures + 1)
    then = moves.keep(drive.workflow, here, failure, drive.clock.now(), doubt=True)
    return FollowUp(then, (log.make(EventKind.FAILED, here, attempt, failure=failure),))


def after_cut_off(drive: DriveContext[C, S], log: EventLog[C, S], here: Instance[C]) -> FollowUp[C]:
    """The instance still runs at the end of the graceful stop: roll it back, or keep it."""
    now = drive.clock.now()
    failure = Failure(
        kind=CUT_OFF,
        message="the scenario and its graceful stop were over",
        state=here.position,
        attempt=here.failures + 1,
        code="cut_off",
    )
    if drive.on_failure is OnFailure.ROLLBACK:
        then, kind = moves.roll_back(drive.workflow, here, now, failure=failure), EventKind.ROLLING_BACK
    else:
        then, kind = moves.keep(drive.workflow, here, failure, now), EventKind.FAILED
    return FollowUp(then, (log.make(kind, here, failure=failure),))
