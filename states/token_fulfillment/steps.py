"""Types, rate groups and retry policies that all states of this workflow share."""

from __future__ import annotations

from types import TracebackType

from orchestrator import PermanentError, RetryPolicy, State, Step, TransientError
from states.pingone import PingOne
from states.token_fulfillment.context import TokenContext
from states.token_fulfillment.settings import TokenFulfillmentSettings

CONFIGURATION = "configuration"
DIRECTORY = "directory"
SIGN_ON = "sign_on"
TOKEN_CHECK = "token_check"
"""Rate groups. PingOne limits each separately. [inferred mapping] Source: "Rate limiting"."""

PROPAGATION_RETRY = RetryPolicy(attempts=10)
"""For an object that may appear some time after its parent."""

GRACE_S = 20.0
"""How long a new object may be unknown to a part of PingOne. [inferred] The vendor says "eventually consistent" and no number."""


class TokenState(State[TokenContext, PingOne]):
    """A state of this workflow."""


TokenStep = Step[TokenContext, PingOne]


def settings_of(step: TokenStep) -> TokenFulfillmentSettings:
    """The settings of the run."""
    assert isinstance(step.services.settings, TokenFulfillmentSettings)
    return step.services.settings


class Grace:
    """Context manager: treat refusals of these kinds as temporary while the objects of the request are new. (A generator would take twice the time,
    once per request.)

    Args:
        since: Unix time of their creation; by default that of this instance's newest object. Before its first object, the worker's
            role or the environment may be new. Their age is unknown, so only the retry policy limits the attempts.
        pause_s: Seconds until the next attempt, instead of the policy's.

    Raises:
        TransientError: The refusal, within ``GRACE_S``. Later it is raised unchanged.
    """

    __slots__ = ("_kinds", "_pause_s", "_since", "_step")

    def __init__(
        self, step: TokenStep, *kinds: type[PermanentError], since: float | None = None, pause_s: float | None = None
    ) -> None:
        self._step, self._kinds, self._since, self._pause_s = step, kinds, since, pause_s

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not isinstance(error, PermanentError) or not isinstance(error, self._kinds):
            return
        made_at = self._step.context.made_at if self._since is None else self._since
        if made_at is None or self._step.clock.now() <= made_at + GRACE_S:
            raise TransientError(error.message, code=error.code, retry_after=self._pause_s) from error
