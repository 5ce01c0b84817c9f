"""One call of one handler: ends in an answer or a failure, never in an exception of the handler's."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from typing import TypeVar

from orchestrator.decision import Failed
from orchestrator.errors import LeaseExpiredError, OrchestratorError, StepError
from orchestrator.secret import redact, secrets_in
from orchestrator.state import C, S, Step

R = TypeVar("R")


async def attempt(handler: Callable[[Step[C, S]], Awaitable[R]], step: Step[C, S]) -> R | Failed:
    """Call ``handler``.

    Raises:
        LeaseExpiredError: The handler was stopped before a request; says nothing about the step.
    """
    try:
        return await handler(step)
    except LeaseExpiredError:
        raise
    except StepError as error:
        return Failed(error)
    except Exception as error:  # noqa: BLE001  # a border: whatever a handler raises is its answer
        return Failed(_without_secrets(error, step), redact(traceback.format_exc(), secrets_in(step.context)))


def _without_secrets(error: Exception, step: Step[C, S]) -> Exception:
    text = redact(str(error), secrets_in(step.context))
    if text == str(error) or isinstance(error, OrchestratorError):
        return error
    return RuntimeError(f"{type(error).__name__}: {text}")
