"""The driver: moves one instance until it ends or is suspended.

Rules of this file:

* The next attempt starts only when the checkpoint that leads to it is durable.
* The instance in memory changes only when the store has it: a save is finished even when it is cancelled, and one
  that fails stops the driver. (What a resumption finds out again needs no checkpoint of its own: that a state leaves nothing
  to roll back.)
* The lease is checked before every attempt (and, by the services, before every request).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from random import Random
from typing import Any, Generic

import anyio
import attrs

from orchestrator.clock import Clock, wait_until
from orchestrator.definition.state import C, Effect, NextRound, Outcome, Repeat, S, State, Step
from orchestrator.definition.workflow import Workflow
from orchestrator.driving.admission import Admission
from orchestrator.driving.attempt import attempt
from orchestrator.driving.limits import RateLimits
from orchestrator.driving.recording import Exchange, begin_recording, recorded_secrets
from orchestrator.errors import AmbiguousError, CheckpointError, LeaseExpiredError, StoreError, ThrottledError
from orchestrator.lifecycle import instance as moves
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
from orchestrator.lifecycle.events import Event, EventKind, Observer
from orchestrator.lifecycle.instance import CUT_OFF, TERMINAL, Failure, Instance, Leftover, Status
from orchestrator.lifecycle.run import Recorded
from orchestrator.redaction import Redactor
from orchestrator.secret import secrets_in
from orchestrator.storage.base import Save, Shard, Store
from orchestrator.storage.checkpoint import Codec
from orchestrator.storage.lease import Lease

SUSPEND_LIMIT_S = 10.0
"""How long a cancelled driver may take to store that it was suspended."""


@attrs.define(kw_only=True)
class Drive(Generic[C, S]):
    """What the drivers of a run share."""

    workflow: Workflow[C, S]
    services: S
    store: Store
    codec: Codec[C]
    shard: Shard
    lease: Lease
    limits: RateLimits
    admission: Admission
    clock: Clock
    rng: Random
    on_failure: OnFailure
    on_success: OnSuccess
    recorded: Recorded = Recorded.FAILED
    observers: Sequence[Observer] = ()
    """Told of what is stored."""
    attempt_observers: Sequence[Observer] = ()
    """Told of attempts and answers, too."""
    stopping: anyio.Event = attrs.field(factory=anyio.Event)
    """Set: suspend at the next boundary instead of going on."""


class Begin(Enum):
    """How a driver comes to its instance."""

    START = "start"
    TAKE_UP = "take up"
    """Left by another driver."""
    ROLL_BACK = "roll back"
    """Whatever its status: the user's ``cleanup``."""


@attrs.define
class _Attempt:
    """A call of a handler, and what it ended with, which is still to be acted on."""

    state: State[Any, Any]
    handler: str
    call: Callable[[Step[Any, Any]], Awaitable[Any]]
    began: float
    """Steady time, as ``ended``."""
    ended: float
    waited_s: float
    """How long it waited for its rate group before."""
    result: Any = None
    made: bool = True
    """Whether the handler was called at all."""


class Driver(Generic[C, S]):
    """Drives one instance. ``instance`` is what the store has of it."""

    def __init__(self, drive: Drive[C, S], instance: Instance[C], *, late_s: float = 0.0) -> None:
        self._drive = drive
        self.instance = instance
        self._late_s = late_s
        now, pause = drive.clock.steady(), self._pause_left()
        self._ready_at = now + pause
        """Steady time of the next attempt, if it has to wait."""
        self._due_at = now if instance.failures else self._ready_at
        """When the state that it stands in was due (steady time)."""
        self._entered = self._due_at
        """Steady time from which the deadline of the retry policy counts."""
        self._pause = 0.0
        """Seconds of the pause that the latest answer asked of its rate group, until that is stored."""
        self._waited_s = 0.0
        """How long the attempt that comes waited for its rate group."""
        self._history = instance.history
        self._exchanges: deque[Exchange] = deque()
        self._another_round = False
        """Whether the attempt that is out was told that another round is wanted."""
        self._scope = anyio.CancelScope()
        self._deadline = math.inf
        """When the attempt that is out has had its time (of the event loop)."""
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._begun = False
        self._out: _Attempt | None = None
        """The attempt that is out, from its call until what it led to is stored: a driver that stops in between is in
        doubt."""

    def _pause_left(self) -> float:
        """Seconds until the next attempt of a stored instance. The wall clock may have been set meanwhile, so it is never longer
        than the longest pause that leads there."""
        here = self.instance
        if here.not_before is None:
            return 0.0
        if not here.failures:
            longest = self._drive.admission.pause(here.number, here.rounds)
        elif here.status is Status.ROLLING_BACK:
            longest = self._drive.workflow.state_named[here.trail[-1]].rollback_retry.longest_wait.total_seconds()
        else:
            longest = self._drive.workflow.state_named[here.position].retry.longest_wait.total_seconds()
        return min(max(0.0, here.not_before - self._drive.clock.now()), longest)

    async def _start(self) -> None:
        """Store a new instance: it is in the store before its first request."""
        await self._save(self.instance, self._event(EventKind.STARTED, waited_s=self._late_s))

    async def _take_up(self) -> None:
        """Take over an instance that another driver left, or died with."""
        spent = max(0.0, self._drive.admission.elapsed - self.instance.due)
        resumed = moves.resume(self.instance, self._drive.clock.now())
        await self._save(resumed, self._event(EventKind.RESUMED, waited_s=spent))

    async def _roll_back(self) -> None:
        """Put the instance on its way back, whatever its status: what the user's ``cleanup`` does first."""
        rolling = moves.roll_back(self._drive.workflow, self.instance, self._drive.clock.now())
        await self._save(rolling, self._event(EventKind.ROLLING_BACK))

    def put_back(self) -> Save:
        """What stores a failed instance back in the state that failed, for a driver to take up: what ``retry`` does first."""
        then = moves.put_back(self._drive.workflow, self.instance, self._drive.clock.now())
        event = self._event(EventKind.PUT_BACK, state=then.position)
        return Save(self._drive.shard, self._drive.codec.encode(then, history=self._history), (event,))

    async def drive(self, begin: Begin) -> Instance[C]:
        """Store how we begin, then go on until the instance ends, or is suspended because the run is stopping.

        Raises:
            StoreError: A checkpoint could not be written, or the run was taken over.
            LeaseExpiredError: Our lease ran out.
        """
        pending: _Attempt | None = None
        self._exchanges = begin_recording(self._drive.recorded)
        self._drive.admission.active += 1
        try:
            await {Begin.START: self._start, Begin.TAKE_UP: self._take_up, Begin.ROLL_BACK: self._roll_back}[begin]()
            while True:
                # One scope limits attempt after attempt (see `_limit_to`): a scope for each would cost a tenth of the
                # engine's time. It is spent when an attempt runs out of time.
                with anyio.CancelScope() as self._scope:
                    pending = await self._go_on(pending)
                if self._scope.cancelled_caught:
                    pending = self._ran_out_of_time()
                if pending is None:
                    return self.instance
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(SUSPEND_LIMIT_S, shield=True):
                try:
                    self._drive.lease.check()
                    if self.instance.status not in TERMINAL and self._begun:
                        await self._suspend()
                except (StoreError, LeaseExpiredError):
                    pass  # the last checkpoint stands, and whoever loads it knows that a handler may have been out
            raise
        finally:
            self._drive.admission.active -= 1
            if self._alarm is not None:
                self._alarm.cancel()

    async def _go_on(self, pending: _Attempt | None) -> _Attempt | None:
        """Act on ``pending``, then drive until there is no more to do; an attempt that ended in the very moment in
        which its time ran out is returned, to be acted on in a fresh scope."""
        if pending is not None:
            await self._act_on(pending)
        while self.instance.status not in TERMINAL:
            rolling_back = self.instance.status is Status.ROLLING_BACK
            if rolling_back:
                self._skip_states_without_rollback()
            if not await self._due():
                await self._suspend()
                return None
            if rolling_back and not self.instance.trail:
                await self._save(moves.finish(self._drive.workflow, self.instance, self._drive.clock.now()))
                return None
            if not rolling_back and self._drive.admission.is_cut:
                await self._save(*self._cut_off())
                continue
            out = self._next()
            if out.result is None:
                self._begin(out)
                result = await attempt(out.call, self._make_step(out.state))
                self._end(out, result)
                if self._scope.cancel_called:
                    return out
            await self._act_on(out)
        return None

    async def _act_on(self, out: _Attempt) -> None:
        """Store what follows from an attempt; what it answered may be what cannot be stored."""
        history = self._history
        if self._pause and out.state.rate_group is not None:
            until, self._pause = self._drive.clock.now() + self._pause, 0.0
            await self._drive.store.save_pause(self._drive.shard, out.state.rate_group, until)
        try:
            await self._save(*self._follow(out))
        except CheckpointError as error:
            if out.handler == "rollback":
                raise
            self._history = history
            drive, here = self._drive, self.instance
            failure = Failure(kind="bug", message=str(error), state=here.position, attempt=here.failures + 1)
            then = moves.keep(drive.workflow, here, failure, drive.clock.now(), doubt=True)
            await self._save(then, self._event(EventKind.FAILED, out, failure=failure))

    async def _due(self) -> bool:
        """Wait until the next attempt is due; ``False``: the run is stopping."""
        drive, stopping = self._drive, self._drive.stopping
        cut_at = drive.admission.cut_at if self.instance.status is Status.RUNNING else math.inf
        if self.instance.not_before is not None:
            await wait_until(drive.clock, min(self._ready_at, cut_at), stopping)
        if (group := self._rate_group()) is not None and drive.limits.limits(group) and not stopping.is_set():
            self._waited_s = await drive.limits.admit(group, leave=stopping, until=cut_at)
            self._entered += self._waited_s  # is no part of the time that a state has for its retries
        return not stopping.is_set()

    def _cut_off(self) -> tuple[Instance[C], Event]:
        """The time of the scenario and its graceful stop are over: an instance that still runs is rolled back, or kept."""
        drive, here, now = self._drive, self.instance, self._drive.clock.now()
        self._waited_s = 0.0
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
        return then, self._event(kind, failure=failure)

    def _rate_group(self) -> str | None:
        """Of the state whose handler comes next."""
        states = self._drive.workflow.state_named
        if self.instance.status is not Status.ROLLING_BACK:
            return states[self.instance.position].rate_group
        return states[self.instance.trail[-1]].rate_group if self.instance.trail else None

    async def _suspend(self) -> None:
        suspended = moves.suspend(self.instance, doubt=self._out is not None, now=self._drive.clock.now())
        await self._save(suspended, self._event(EventKind.SUSPENDED))

    def _next(self) -> _Attempt:
        """What is to be called next; one that may not be called has its result."""
        here, states, now = self.instance, self._drive.workflow.state_named, self._drive.clock.steady()
        waited, self._waited_s = self._waited_s, 0.0
        if here.status is Status.ROLLING_BACK:
            state = states[here.trail[-1]]
            return _Attempt(state, "rollback", state.rollback, now, now, waited)
        state = states[here.position]
        if here.doubt and state.repeat is Repeat.AFTER_RECOVERY:
            return _Attempt(state, "recover", state.recover, now, now, waited)
        if here.doubt and state.repeat is Repeat.NEVER:
            error = AmbiguousError("an earlier attempt, of which no answer was seen, may have had its effect", code="interrupted")
            return _Attempt(state, "run", state.run, now, now, waited, Failed(error), made=False)
        return _Attempt(state, "run", state.run, now, now, waited)

    def _follow(self, out: _Attempt) -> tuple[Instance[C], *tuple[Event, ...]]:
        """What follows from an attempt: the instance as it is to be stored, and the events."""
        return self._step_back(out) if out.handler == "rollback" else self._step(out)

    def _step(self, out: _Attempt) -> tuple[Instance[C], *tuple[Event, ...]]:
        """After an attempt at the state that the instance stands in."""
        drive, here, now = self._drive, self.instance, self._drive.clock.now()
        workflow = drive.workflow
        match decide(
            workflow,
            here,
            out.result,
            on_failure=drive.on_failure,
            another_round=self._another_round,
            spent=out.ended - self._entered,
            rng=drive.rng,
        ):
            case Outcome(outcome, context):
                again = isinstance(workflow.back(here.position, outcome), NextRound)
                pause = drive.admission.pause(here.number, here.rounds + 1) if again else 0.0
                then = moves.advance(workflow, here, outcome, context, now, pause=pause)
                moved = self._event(EventKind.MOVED, out, outcome=outcome, target=then.position)
                self._due_at = self._ready_at = out.ended + pause
                if again:
                    self._exchanges.clear()
                if then.status is Status.COMPLETED and drive.on_success is OnSuccess.TEARDOWN:
                    return moves.roll_back(workflow, then, now), moved, self._event(EventKind.ROLLING_BACK, state=then.position)
                return then, moved
            case RunNow():
                return moves.effect_not_found(here, now), self._event(EventKind.NOT_FOUND, out)
            case Retry(failure, doubt, wait):
                self._ready_at = out.ended + wait
                then = moves.retry(workflow, here, failure, doubt=doubt, wait=wait, now=now)
                return then, self._event(EventKind.RETRY, out, failure=failure)
            case RollBack(failure, doubt):
                then = moves.roll_back(workflow, here, now, failure=failure, doubt=doubt)
                return then, self._event(EventKind.ROLLING_BACK, out, failure=failure)
            case Keep(failure, doubt):
                then = moves.keep(workflow, here, failure, now, doubt=doubt)
                return then, self._event(EventKind.FAILED, out, failure=failure)

    def _skip_states_without_rollback(self) -> None:
        """They leave nothing behind by themselves: no attempt, and no checkpoint of their own."""
        here, states = self.instance, self._drive.workflow.state_named
        while here.trail and not states[here.trail[-1]].can_roll_back:
            here = moves.undone(self._drive.workflow, here, self._drive.clock.now())
        self.instance = here

    def _step_back(self, out: _Attempt) -> tuple[Instance[C], Event]:
        """After an attempt to roll back the newest state of the trail."""
        drive, here, now = self._drive, self.instance, self._drive.clock.now()
        failed = out.result if isinstance(out.result, Failed) else None
        match decide_rollback(out.state, here, failed, spent=out.ended - self._entered, rng=drive.rng):
            case Undone():
                return moves.undone(drive.workflow, here, now), self._event(EventKind.UNDONE, out)
            case Retry(failure, doubt, wait):
                self._ready_at = out.ended + wait
                then = moves.retry(drive.workflow, here, failure, doubt=doubt, wait=wait, now=now)
                return then, self._event(EventKind.RETRY, out, failure=failure)
            case Leave(failure):
                then = moves.undone(drive.workflow, here, now, leftover=self._leftover(out.state, failure))
                return then, self._event(EventKind.LEFT_OVER, out, failure=failure)

    def _leftover(self, state: State[C, S], failure: Failure) -> Leftover:
        try:
            # What it is called follows from the context alone: nothing else is there when a report is written.
            effect = state.effect(attrs.evolve(self._make_step(state), services=None))  # type: ignore[arg-type]  # see `State.effect`
        except Exception:  # noqa: BLE001  # a leftover is listed even if it cannot be described
            effect = None
        effect = effect or Effect(kind=state.name, name=self.instance.id)
        return Leftover(state=state.name, effect=effect, error=failure.message)

    def _begin(self, out: _Attempt) -> None:
        drive, state = self._drive, out.state
        drive.lease.check()
        if drive.attempt_observers:
            self._tell_attempt(EventKind.ATTEMPT, state.name, handler=out.handler, attempt=self.instance.failures + 1)
        self._out = out
        self._limit_to(state.timeout.total_seconds())

    def _end(self, out: _Attempt, result: Any) -> None:
        """A rollback ends with ``None``."""
        drive, state = self._drive, out.state
        self._deadline = math.inf
        if isinstance(result, Failed) and isinstance(result.error, ThrottledError) and state.rate_group is not None:
            self._pause = drive.limits.slow_down(state.rate_group, result.error.retry_after or 1.0)
        out.result, out.ended = result, drive.clock.steady()
        if drive.attempt_observers:
            self._tell_attempt(EventKind.ANSWER, state.name, handler=out.handler, duration_s=out.ended - out.began)

    def _limit_to(self, seconds: float) -> None:
        """The attempt that begins has this long. The alarm is set once for many attempts: it looks at the deadline when it
        goes off, and most attempts have ended by then. (A timer for each would cost as much as the checkpoint's JSON.)"""
        self._deadline = self._drive.clock.deadline(seconds)
        if self._deadline < self._alarm_at:
            self._set_alarm(self._deadline)

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.get_running_loop().call_at(at, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        if self._deadline <= asyncio.get_running_loop().time():
            self._scope.cancel()
        elif self._deadline < math.inf:
            self._set_alarm(self._deadline)

    def _ran_out_of_time(self) -> _Attempt:
        """Ambiguous: the request may be with the other side."""
        assert self._out is not None
        limit = self._out.state.timeout.total_seconds()
        self._end(self._out, Failed(AmbiguousError(f"no answer within {limit:g} s", code="timeout")))
        return self._out

    def _make_step(self, state: State[C, S]) -> Step[C, S]:
        here, drive = self.instance, self._drive
        ends_round = state.name == drive.workflow.round_end and here.status is Status.RUNNING
        self._another_round = ends_round and drive.admission.wants_round(here.number, here.rounds + 1)
        return Step(
            run_id=here.run_id,
            number=here.number,
            attempt=here.failures + 1,
            context=here.context,
            services=drive.services,
            clock=drive.clock,
            rng=drive.rng,
            another_round=self._another_round,
            may_have_run=state.name in here.may_have_run,
        )

    async def _save(self, then: Instance[C], *events: Event) -> None:
        """Make ``then`` durable, with its events; only after that is it what the instance is."""
        drive = self._drive
        if then.status in TERMINAL and self.instance.status not in TERMINAL:
            events = (*events, self._event(EventKind.ENDED, state=then.position, outcome=then.status.value))
        failed = [event for event in events if event.failure is not None and event.kind is not EventKind.RETRY]
        evidence = self._evidence(then) if failed or drive.recorded is Recorded.ALL else None
        checkpoint = drive.codec.encode(then, history=self._history, evidence=evidence)
        try:
            await drive.store.save(Save(drive.shard, checkpoint, events))
        except anyio.get_cancelled_exc_class():
            self._stored(then, events)  # a save is finished before its cancellation is raised
            raise
        self._stored(then, events)

    def _evidence(self, then: Instance[C]) -> list[Mapping[str, Any]] | None:
        """The exchanges that led to ``then``, masked. The newest secrets are in its context only."""
        if not self._exchanges:
            return None
        secrets = Redactor((*secrets_in(self.instance.context), *secrets_in(then.context), *recorded_secrets()))
        entries = []
        for exchange in self._exchanges:
            try:
                entries.append(exchange.entry(secrets))
            except Exception as error:  # noqa: BLE001  # evidence is never worth an instance
                entries.append({"comment": f"an exchange that cannot be shown ({type(error).__name__})"})
        self._exchanges.clear()
        return entries

    def _stored(self, then: Instance[C], events: Sequence[Event]) -> None:
        self.instance = then
        self._out = None
        self._begun = True
        if not then.failures:
            self._entered = self._drive.clock.steady() if then.not_before is None else self._ready_at
        if then.status is Status.ROLLING_BACK:
            self._drive.admission.leave(then.number)
        for event in events:
            for observer in self._drive.observers:
                observer(event)

    def _event(
        self,
        kind: EventKind,
        out: _Attempt | None = None,
        *,
        state: str | None = None,
        outcome: str | None = None,
        target: str | None = None,
        failure: Failure | None = None,
        waited_s: float | None = None,
    ) -> Event:
        """An event of the history, with what is to be told of the attempt that led to it."""
        self._history += 1
        here = self.instance
        out = out if out and out.made else None
        return Event(
            run_id=here.run_id,
            number=here.number,
            kind=kind,
            at=self._drive.clock.now(),
            state=state or (out.state.name if out else here.position),
            handler=out.handler if out else None,
            attempt=here.failures + 1 if out else None,
            outcome=outcome,
            target=target,
            duration_s=out.ended - out.began if out else None,
            error=failure.message if failure else None,
            failure=failure.kind if failure else None,
            code=failure.code if failure else None,
            waited_s=out.waited_s if out else waited_s,
            total_s=out.ended - self._due_at if out and out.handler != "rollback" else None,
            seq=self._history,
        )

    def _tell_attempt(self, kind: EventKind, state: str, **told: Any) -> None:
        here, now = self.instance, self._drive.clock.now()
        event = Event(run_id=here.run_id, number=here.number, kind=kind, at=now, state=state, **told)
        for observer in self._drive.attempt_observers:
            observer(event)
