"""What every state of this workflow shares: its types, and its policies."""

from __future__ import annotations

from datetime import timedelta

from orchestrator import RetryPolicy, State, Step
from states.pingone import PingOne
from states.token_fulfillment.context import TokenContext
from states.token_fulfillment.settings import TokenFulfillmentSettings

CONFIGURATION = "configuration"
DIRECTORY = "directory"
SIGN_ON = "sign_on"
TOKEN_CHECK = "token_check"
"""Rate groups; PingOne counts each apart. [inferred mapping] Source: "Rate limiting"."""

PROPAGATION_RETRY = RetryPolicy(attempts=10)
"""For what may be missing for a while after its parent was made."""

TIMEOUT = timedelta(seconds=30)


class TokenState(State[TokenContext, PingOne]):
    """A state of this workflow."""

    timeout = TIMEOUT


TokenStep = Step[TokenContext, PingOne]


def settings_of(step: TokenStep) -> TokenFulfillmentSettings:
    """The settings of the run."""
    assert isinstance(step.services.settings, TokenFulfillmentSettings)
    return step.services.settings
