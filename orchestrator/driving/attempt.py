"""One call of one handler: ends in an answer or a failure, never in an exception of the handler's."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from orchestrator.definition.state import C, S, Step
from orchestrator.driving.recording import recorded_secrets
from orchestrator.errors import AmbiguousError, LeaseExpiredError, OrchestratorError, StepError, TransientError
from orchestrator.lifecycle.decision import Failed
from orchestrator.redaction import Redactor, visible
from orchestrator.secret import secrets_in

R = TypeVar("R")

LONGEST_MESSAGE = 2000
"""Characters of an error that are stored and shown."""
LONGEST_CODE = 100
LONGEST_TRACE = 20_000
"""The last characters of a trace."""


async def attempt(handler: Callable[[Step[C, S]], Awaitable[R]], step: Step[C, S]) -> R | Failed:
    """Call ``handler``.

    Raises:
        LeaseExpiredError: The handler was stopped before a request; says nothing about the step.
    """
    try:
        return await handler(step)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody cancelled us: the handler waited for something that was.
        return Failed(AmbiguousError("what it waited for was cancelled", code="cancelled"))
    except Exception as error:  # noqa: BLE001  # a border: whatever a handler raises is its answer
        return _failed(_alone(error), step)


def _alone(error: Exception) -> Exception:
    """The error that counts in the group that a handler's own task group made."""
    if not isinstance(error, ExceptionGroup):
        return error
    inner = [_alone(one) for one in error.exceptions]
    for cls in (LeaseExpiredError, AmbiguousError, TransientError, StepError):
        if all(isinstance(one, StepError | LeaseExpiredError) for one in inner):
            for one in inner:
                if isinstance(one, cls):
                    return one
    return error


def _failed(error: Exception, step: Step[Any, Any]) -> Failed:
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
    """A handler may quote all that the other side said."""
    text = visible(secrets.redact(str(said)[: 4 * most]))
    return text if len(text) <= most else f"{text[:most]}…"
