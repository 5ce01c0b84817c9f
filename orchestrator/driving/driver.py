"""The driver: moves one instance until it ends or is suspended.

Rules of this file:

* The next attempt starts only when the checkpoint that leads to it is durable.
* The instance in memory changes only after the store has accepted it. A save is completed even when it is cancelled, and
  a save that fails stops the driver. The only exception: skipping a state without rollback is not saved, because resume
  recomputes it.
* The lease is checked before every attempt (and by the services before every request).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from enum import Enum
from typing import Generic

import anyio
import attrs

from orchestrator.clock import wait_until
from orchestrator.definition.state import C, Repeat, S, State, Step
from orchestrator.driving.attempt import Attempt, Handler, TimeLimit, call_handler
from orchestrator.driving.drive_context import DriveContext
from orchestrator.driving.event_log import EventLog
from orchestrator.driving.follow_up import FollowUp, after_attempt, after_cut_off, after_unstorable_result
from orchestrator.driving.recording import Recording
from orchestrator.errors import AmbiguousError, CheckpointError, LeaseExpiredError, StoreError, ThrottledError
from orchestrator.lifecycle import moves
from orchestrator.lifecycle.decision import Failed
from orchestrator.lifecycle.events import REQUESTED, Event, EventKind
from orchestrator.lifecycle.instance import TERMINAL, Again, Instance, Status
from orchestrator.lifecycle.run import Recorded
from orchestrator.storage.records import Save

SUSPEND_LIMIT_S = 10.0
"""Time limit of a cancelled driver to store that its instance is suspended."""


class Begin(Enum):
    """How a driver begins with its instance."""

    START = "start"
    """Store it: it is new."""
    RESUME = "resume"
    """Continue after another driver."""
    ROLL_BACK = "roll back"
    """Roll it back, in any status (``cleanup``)."""


@attrs.define(kw_only=True)
class _Timing:
    """Moments of the instance in its current state, as steady time."""

    ready_at: float
    """When the next attempt may start."""
    due_at: float
    """When the state was due."""
    entered_at: float
    """Start of the retry policy's deadline."""
    waited_s: float = 0.0
    """Wait of the next attempt for its rate group."""


class Driver(Generic[C, S]):
    """Drives one instance.

    Args:
        late_s: Seconds by which a new instance starts late.
    """

    def __init__(self, drive: DriveContext[C, S], instance: Instance[C], *, late_s: float = 0.0) -> None:
        self._drive = drive
        self.instance = instance
        """As it is stored."""
        self._late_s = late_s
        self._timing = _timing(drive, instance)
        self._log = EventLog(drive, instance.history)
        self._limit = TimeLimit(drive.clock)
        self._recording = Recording(drive.recorded)
        self._attempt: Attempt[C, S] | None = None
        """The attempt in flight, until its result is stored. If the driver stops before that, its effect is unknown."""
        self._has_stored = False

    async def drive(self, begin: Begin) -> Instance[C]:
        """Store how the driver begins, then continue until the instance ends or, because the run stops, is suspended.

        Raises:
            StoreError: A checkpoint could not be written, or another process has taken the run over.
            LeaseExpiredError: The lease expired.
        """
        self._recording.begin()
        self._drive.admission.active += 1
        ended: Attempt[C, S] | None = None
        try:
            await self._begin(begin)
            while True:
                # One scope limits many attempts: a new scope for each would take a tenth of the engine's time.
                with self._limit.new_scope() as scope:
                    ended = await self._continue(ended)
                if scope.cancelled_caught:
                    ended = self._timed_out()
                if ended is None:
                    return self.instance
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(SUSPEND_LIMIT_S, shield=True):
                try:
                    self._drive.lease.check()
                    if self.instance.status not in TERMINAL and self._has_stored:
                        await self._suspend()
                except (StoreError, LeaseExpiredError):
                    pass  # the last checkpoint stands; its status says that an attempt may have been in flight
            raise
        finally:
            self._drive.admission.active -= 1
            self._limit.close()

    def reset(self, begin: Begin) -> Save:
        """The save that resets an ended instance, for a driver to continue: to its rollback, or to the state that failed (``retry``)."""
        workflow, now = self._drive.workflow, self._drive.clock.now()
        if begin is Begin.ROLL_BACK:
            then = moves.roll_back(workflow, self.instance, now)
            then, event = self._again("cleanup", then, self._event(EventKind.ROLLING_BACK, outcome=REQUESTED))
        else:
            then = moves.put_back(workflow, self.instance, now)
            then, event = self._again("retry", then, self._event(EventKind.PUT_BACK, state=then.position))
        return Save(self._drive.shard_of(then.number), self._drive.codec.encode(then, history=self._log.count), (event,))

    async def _begin(self, begin: Begin) -> None:
        drive, here = self._drive, self.instance
        match begin:
            case Begin.START:
                await self._save(here, self._event(EventKind.STARTED, waited_s=self._late_s))
            case Begin.RESUME:
                spent = max(0.0, drive.admission.elapsed - here.due)
                await self._save(moves.resume(here, drive.clock.now()), self._event(EventKind.RESUMED, waited_s=spent))
            case Begin.ROLL_BACK:
                rolling_back = moves.roll_back(drive.workflow, here, drive.clock.now())
                event = self._event(EventKind.ROLLING_BACK, outcome=REQUESTED)
                await self._save(*self._again("cleanup", rolling_back, event))

    def _again(self, how: str, then: Instance[C], event: Event) -> tuple[Instance[C], Event]:
        """The instance and the event that continues it, marked if the instance had ended."""
        if self.instance.status not in TERMINAL:
            return then, event
        continued = Again(how=how, seq=self._log.count, at=event.at)
        return moves.again(then, continued), attrs.evolve(event, again=continued)

    async def _continue(self, ended: Attempt[C, S] | None) -> Attempt[C, S] | None:
        """Act on ``ended``, then drive on. Returns an attempt that ended just as its time limit was exceeded: it needs a new
        scope; ``None``: the instance ended or is suspended."""
        if ended is not None:
            await self._act_on(ended)
        while self.instance.status not in TERMINAL:
            rolling_back = self.instance.status is Status.ROLLING_BACK
            if rolling_back:
                self._skip_states_without_rollback()
            state = _next_state(self._drive, self.instance)
            if self.instance.not_before is not None or (state is not None and self._drive.limits.limits(state.rate_group)):
                await self._wait_until_ready(state)
            if self._drive.stopping.is_set():
                await self._suspend()
                return None
            if state is None:
                await self._save(moves.finish(self._drive.workflow, self.instance, self._drive.clock.now()))
                return None
            if not rolling_back and self._drive.admission.is_cut:
                self._timing.waited_s = 0.0
                cut_off = after_cut_off(self._drive, self._log, self.instance)
                await self._save(cut_off.then, *cut_off.events)
                continue
            attempt = _next_attempt(self._drive, self.instance, state, self._timing)
            self._timing.waited_s = 0.0
            if attempt.made:
                self._before(attempt)
                self._after(attempt, await call_handler(attempt.call, attempt.step))
                if self._limit.exceeded:
                    return attempt
            await self._act_on(attempt)
        return None

    async def _wait_until_ready(self, state: State[C, S] | None) -> None:
        """Wait until the next attempt, at this state, may start, or the run is stopping."""
        drive, stopping = self._drive, self._drive.stopping
        cut_at = drive.admission.cut_at if self.instance.status is Status.RUNNING else math.inf
        if self.instance.not_before is not None:
            await wait_until(drive.clock, min(self._timing.ready_at, cut_at), stopping)
        group = state.rate_group if state is not None else None
        if group is not None and drive.limits.limits(group) and not stopping.is_set():
            self._timing.waited_s = await drive.limits.admit(group, leave=stopping, until=cut_at)
            self._timing.entered_at += self._timing.waited_s  # the wait does not count against the state's deadline

    def _before(self, attempt: Attempt[C, S]) -> None:
        self._drive.lease.check()
        self._log.attempt_begins(self.instance, attempt)
        self._attempt = attempt
        self._limit.start(attempt.state.timeout.total_seconds())

    def _after(self, attempt: Attempt[C, S], result: object) -> None:
        drive, group = self._drive, attempt.state.rate_group
        self._limit.stop()
        if isinstance(result, Failed) and isinstance(result.error, ThrottledError) and group is not None:
            attempt.pause_s = drive.limits.slow_down(group, result.error.retry_after or 1.0)
        attempt.result, attempt.ended = result, drive.clock.steady()
        self._log.attempt_ended(self.instance, attempt)

    def _timed_out(self) -> Attempt[C, S]:
        """The attempt that was cancelled by its time limit. Ambiguous: the other side may have received the request."""
        assert self._attempt is not None
        limit = self._attempt.state.timeout.total_seconds()
        self._after(self._attempt, Failed(AmbiguousError(f"no answer within {limit:g} s", code="timeout")))
        return self._attempt

    async def _act_on(self, attempt: Attempt[C, S]) -> None:
        """Store the result of an attempt."""
        drive, history = self._drive, self._log.count
        if attempt.pause_s and attempt.state.rate_group is not None:
            await drive.store.save_pause(
                drive.shard_of(self.instance.number), attempt.state.rate_group, drive.clock.now() + attempt.pause_s
            )
        try:
            await self._follow(after_attempt(drive, self._log, self.instance, attempt), attempt)
        except CheckpointError as error:
            if attempt.is_rollback:
                raise
            self._log.count = history
            await self._follow(after_unstorable_result(drive, self._log, self.instance, attempt, error), attempt)

    def _follow(self, follow_up: FollowUp[C], attempt: Attempt[C, S]) -> Awaitable[None]:
        """Note when the next attempt may start, and return the save of ``follow_up``."""
        if follow_up.wait is not None:
            self._timing.ready_at = attempt.ended + follow_up.wait
        if follow_up.moved:
            self._timing.due_at = self._timing.ready_at
        if follow_up.new_round:
            self._recording.clear()
        return self._save(follow_up.then, *follow_up.events)

    def _skip_states_without_rollback(self) -> None:
        here, states = self.instance, self._drive.workflow.state_named
        while here.trail and not states[here.trail[-1]].can_roll_back:
            here = moves.undone(self._drive.workflow, here, self._drive.clock.now())
        self.instance = here

    async def _suspend(self) -> None:
        suspended = moves.suspend(self.instance, doubt=self._attempt is not None, now=self._drive.clock.now())
        await self._save(suspended, self._event(EventKind.SUSPENDED))

    async def _save(self, then: Instance[C], *events: Event) -> None:
        """Store ``then`` and its events; after that ``then`` is the instance."""
        drive = self._drive
        if then.status in TERMINAL and self.instance.status not in TERMINAL:
            events = (*events, self._event(EventKind.ENDED, state=then.position, outcome=then.status.value))
        failed = [event for event in events if event.failure is not None and event.kind is not EventKind.RETRY]
        stores_evidence = failed or drive.recorded is Recorded.ALL
        evidence = self._recording.take(self.instance.context, then.context) if stores_evidence else None
        checkpoint = drive.codec.encode(then, history=self._log.count, evidence=evidence)
        try:
            await drive.store.save(Save(drive.shard_of(then.number), checkpoint, events))
        except anyio.get_cancelled_exc_class():
            self._stored(then, events)  # the store finishes a save before it raises its cancellation
            raise
        self._stored(then, events)

    def _stored(self, then: Instance[C], events: Sequence[Event]) -> None:
        self.instance = then
        self._attempt = None
        self._has_stored = True
        if not then.failures:
            self._timing.entered_at = self._drive.clock.steady() if then.not_before is None else self._timing.ready_at
        if then.status is Status.ROLLING_BACK:
            self._drive.admission.leave(then.number)
        self._log.publish(events)

    def _event(
        self, kind: EventKind, *, state: str | None = None, outcome: str | None = None, waited_s: float | None = None
    ) -> Event:
        return self._log.make(kind, self.instance, state=state, outcome=outcome, waited_s=waited_s)


def _timing(drive: DriveContext[C, S], here: Instance[C]) -> _Timing:
    """The timing of an instance that is new or was loaded."""
    now = drive.clock.steady()
    ready_at = now + _pause_left(drive, here)
    due_at = now if here.failures else ready_at
    return _Timing(ready_at=ready_at, due_at=due_at, entered_at=due_at)


def _pause_left(drive: DriveContext[C, S], here: Instance[C]) -> float:
    """Seconds until the next attempt of a stored instance. The wall clock may have been set since, so the result is limited to the
    longest pause that can lead to this attempt."""
    if here.not_before is None:
        return 0.0
    states = drive.workflow.state_named
    if not here.failures:
        longest = drive.admission.pause(here.number, here.rounds)
    elif here.status is Status.ROLLING_BACK:
        longest = states[here.trail[-1]].rollback_retry.longest_wait.total_seconds()
    else:
        longest = states[here.position].retry.longest_wait.total_seconds()
    return min(max(0.0, here.not_before - drive.clock.now()), longest)


def _next_state(drive: DriveContext[C, S], here: Instance[C]) -> State[C, S] | None:
    """The state whose handler is called next; ``None``: the rollback is finished."""
    states = drive.workflow.state_named
    if here.status is not Status.ROLLING_BACK:
        return states[here.position]
    return states[here.trail[-1]] if here.trail else None


def _next_attempt(drive: DriveContext[C, S], here: Instance[C], state: State[C, S], timing: _Timing) -> Attempt[C, S]:
    now = drive.clock.steady()
    handler: Handler[C, S] = state.run
    name, made = "run", True
    if here.status is Status.ROLLING_BACK:
        name, handler = "rollback", state.rollback
    elif here.doubt and state.repeat is Repeat.AFTER_RECOVERY:
        name, handler = "recover", state.recover
    elif here.doubt and state.repeat is Repeat.NEVER:
        made = False
    return Attempt(
        state=state,
        handler=name,
        call=handler,
        step=_make_step(drive, here, state, asks_for_round=made),
        began=now,
        ended=now,
        entered_at=timing.entered_at,
        due_at=timing.due_at,
        waited_s=timing.waited_s,
        made=made,
        result=None if made else Failed(AmbiguousError("an interrupted attempt may have had its effect", code="interrupted")),
    )


def _make_step(drive: DriveContext[C, S], here: Instance[C], state: State[C, S], *, asks_for_round: bool) -> Step[C, S]:
    ends_round = asks_for_round and state.name == drive.workflow.round_end and here.status is Status.RUNNING
    return Step(
        run_id=here.run_id,
        number=here.number,
        attempt=here.failures + 1,
        context=here.context,
        services=drive.services,
        clock=drive.clock,
        rng=drive.rng,
        another_round=ends_round and drive.admission.wants_round(here.number, here.rounds + 1),
        may_have_run=state.name in here.may_have_run,
    )
