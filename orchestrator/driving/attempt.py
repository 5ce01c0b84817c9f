"""One attempt: the call of one handler, its time limit, and its result.

An attempt ends in an answer or a :class:`Failed`; an exception of the handler never leaves this file.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from collections.abc import Awaitable, Callable
from typing import Generic

import anyio
import attrs

from orchestrator.clock import Clock, Timer
from orchestrator.definition.state import C, S, State, Step
from orchestrator.driving.recording import recorded_secrets
from orchestrator.errors import AmbiguousError, LeaseExpiredError, OrchestratorError, StepError, TransientError
from orchestrator.lifecycle.decision import Failed
from orchestrator.redaction import Redactor, visible
from orchestrator.secret import secrets_in

Handler = Callable[[Step[C, S]], Awaitable[object]]
"""``run``, ``recover`` or ``rollback`` of a state."""


LONGEST_MESSAGE = 2000
"""Characters of an error that are stored and shown."""
LONGEST_CODE = 100
LONGEST_TRACE = 20_000
"""Characters of a trace that are stored, counted from its end."""


@attrs.define(kw_only=True)
class Attempt(Generic[C, S]):
    """One call of a handler. All moments are steady time."""

    state: State[C, S]
    handler: str
    """``run``, ``recover`` or ``rollback``."""
    call: Handler[C, S]
    step: Step[C, S]
    began: float
    ended: float
    entered_at: float
    """Start of the retry policy's deadline."""
    due_at: float
    """When the state was due."""
    waited_s: float
    """Wait for the rate group before the call."""
    pause_s: float = 0.0
    """Pause of the rate group that the answer asked for."""
    result: object = None
    """Set when the attempt has ended. A rollback that succeeded leaves ``None``."""
    made: bool = True
    """False: the handler may not be called, and ``result`` says why."""

    @property
    def is_rollback(self) -> bool:
        """Whether it rolls a state back."""
        return self.handler == "rollback"

    @property
    def spent(self) -> float:
        """Seconds since the state was entered."""
        return self.ended - self.entered_at


class TimeLimit:
    """Cancels a scope when the attempt in it has had its time.

    One timer serves many attempts. When it fires it compares the deadline of the current attempt, and most attempts have
    ended by then. (A timer for each attempt would cost as much as the JSON of its checkpoint.) One scope serves many
    attempts as well, until an attempt exceeds its limit.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.exceeded = False
        """Whether the current scope was cancelled."""
        self._scope = anyio.CancelScope()
        self._deadline = math.inf
        self._timer: Timer | None = None
        self._timer_at = math.inf

    def new_scope(self) -> anyio.CancelScope:
        """The scope of the attempts that follow."""
        self.exceeded = False
        self._scope = anyio.CancelScope()
        return self._scope

    def start(self, seconds: float) -> None:
        """An attempt begins and may take this long."""
        self._deadline = self._clock.deadline(seconds)
        if self._deadline < self._timer_at:
            self._set_timer(self._deadline)

    def stop(self) -> None:
        """The attempt has ended."""
        self._deadline = math.inf

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, at: float) -> None:
        self.close()
        self._timer_at = at
        self._timer = self._clock.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._deadline <= self._clock.deadline(0.0):
            self.exceeded = True
            self._scope.cancel()
        elif self._deadline < math.inf:
            self._set_timer(self._deadline)


async def call_handler(handler: Handler[C, S], step: Step[C, S]) -> object:
    """Return the result of ``handler``, or a :class:`Failed`.

    Raises:
        LeaseExpiredError: The handler was stopped before it sent a request; this is no result of the step.
    """
    try:
        return await handler(step)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # This task was not cancelled: the handler awaited a task that was.
        return Failed(AmbiguousError("a task that the handler awaited was cancelled", code="cancelled"))
    except Exception as error:  # noqa: BLE001  # a border: every exception of a handler is a result
        return _failed(_decisive(error), step)


def _decisive(error: Exception) -> Exception:
    """The error that decides, from the group that a handler's own task group raised."""
    if not isinstance(error, ExceptionGroup):
        return error
    inner = [_decisive(one) for one in error.exceptions]
    for cls in (LeaseExpiredError, AmbiguousError, TransientError, StepError):
        if all(isinstance(one, StepError | LeaseExpiredError) for one in inner):
            for one in inner:
                if isinstance(one, cls):
                    return one
    return error


def _failed(error: Exception, step: Step[C, S]) -> Failed:
    if isinstance(error, LeaseExpiredError):
        raise error
    secrets = Redactor((*secrets_in(step.context), *recorded_secrets()))
    if isinstance(error, StepError):
        error.message = _shown(error.message, secrets)
        error.args = (error.message,)
        error.code = None if error.code is None else _shown(error.code, secrets, LONGEST_CODE)
        return Failed(error)
    trace = secrets.redact("".join(traceback.format_exception(error))[-LONGEST_TRACE:])
    trace = "\n".join(map(visible, trace.split("\n")))
    text = _shown(error, secrets)
    if text != str(error) and not isinstance(error, OrchestratorError):
        error = RuntimeError(f"{type(error).__name__}: {text}")
    return Failed(error, trace)


def _shown(said: object, secrets: Redactor, most: int = LONGEST_MESSAGE) -> str:
    """``said`` without secrets, cut: a handler may quote a whole answer of the other side."""
    text = visible(secrets.redact(str(said)[: 4 * most]))
    return text if len(text) <= most else f"{text[:most]}…"
