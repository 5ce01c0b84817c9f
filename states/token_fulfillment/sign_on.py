"""Steps 10 to 13: authorize, the flow, the credentials, resume. None of them has a lasting effect."""

from __future__ import annotations

import base64
import hashlib
import secrets

from orchestrator import Back, ExpiredError, Outcome, PermanentError, Recovery, Repeat, Secret, done
from states.pingone.answers import MissingError, RefusedError
from states.pingone.sign_on import COMPLETED, PI_FLOW, READY, Flow
from states.token_fulfillment import names
from states.token_fulfillment.context import TokenContext, changed
from states.token_fulfillment.settings import Pkce, ResponseMode
from states.token_fulfillment.steps import PROPAGATION_RETRY, SIGN_ON, Grace, TokenState, TokenStep, settings_of

FLOW_EXPIRED = "flow_expired"
BACK_TO_AUTHORIZE = Back("authorize", at_most=5)
MOST_CREDENTIALS = 4
"""Limit of attempts with the credentials: the fifth failure locks the account. Source: "Password Policies"."""
CREDENTIALS_PAUSE_S = 3.0


class Authorize(TokenState):
    """Start a sign-on. It sends no cookies, because with an earlier session PingOne would skip the sign-on.

    Effect: a flow, which expires by itself. A second one does no harm.
    Call: ``GET /{env}/as/authorize``. Source: "Authorize (authorization_code)"; RFC 7636 for the code challenge.
    """

    transitions = {"done": "start_flow"}
    rate_group = SIGN_ON
    repeat = Repeat.FREELY
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        settings = settings_of(step)
        parameters = {
            "response_type": "code",
            "client_id": step.context.application_id,
            "redirect_uri": settings.redirect_uri,
            "scope": names.scope(step.context.origin),
        }
        verifier = None
        if settings.pkce is not Pkce.OPTIONAL:
            verifier = Secret(secrets.token_urlsafe(48))
            parameters |= {"code_challenge": _challenge(verifier), "code_challenge_method": "S256"}
        if settings.response_mode is ResponseMode.PI_FLOW:
            parameters["response_mode"] = PI_FLOW
        # [doc] Grants and scopes of a new application become effective late; the client and its redirect URI may too.
        with Grace(step, RefusedError):
            flow = await step.services.sign_on.authorize(parameters)
        return done(changed(step.context, flow_id=flow.id, cookies=flow.cookies, verifier=verifier, code=None, access_token=None))


class StartFlow(TokenState):
    """Read the flow and check that it asks for username and password.

    Effect: none.
    Call: ``GET /{env}/flows/{flowID}``. Source: "Flows".
    """

    outcomes = frozenset({"done", FLOW_EXPIRED})
    transitions = {"done": "submit_credentials", FLOW_EXPIRED: BACK_TO_AUTHORIZE}
    rate_group = SIGN_ON
    repeat = Repeat.FREELY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        flow = await _read_flow(step)
        if flow.status not in READY:
            raise _asks_for(flow.status)
        return done(changed(step.context, cookies={**step.context.cookies, **flow.cookies}))


class SubmitCredentials(TokenState):
    """Sign on with username and password.

    Effect: a session, identified by the cookie of the response. If the response is lost, the cookie is too, and the sign-on
    starts again.
    Call: ``POST /{env}/flows/{flowID}``. Source: "Check Username/Password".
    """

    outcomes = frozenset({"done", FLOW_EXPIRED})
    transitions = {"done": "resume_flow", FLOW_EXPIRED: BACK_TO_AUTHORIZE}
    rate_group = SIGN_ON

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        here = step.context
        passing = (RefusedError,) if step.attempt < MOST_CREDENTIALS else ()
        with Grace(step, *passing, pause_s=CREDENTIALS_PAUSE_S):
            try:
                flow = await step.services.sign_on.check(here.flow_id, here.cookies, here.username, here.password)
            except MissingError as error:
                raise ExpiredError(error.message, outcome=FLOW_EXPIRED) from error
        if flow.status != COMPLETED:
            raise _asks_for(flow.status)
        return done(changed(here, cookies=flow.cookies, code=flow.code))

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Recovery:
        flow = await _read_flow(step)
        if flow.status in READY:
            return Recovery.NOT_FOUND
        if flow.status == COMPLETED:
            return Outcome(FLOW_EXPIRED, step.context)
        raise _asks_for(flow.status)


class ResumeFlow(TokenState):
    """Fetch the authorization code of the finished flow.

    Effect: a code. If it is lost, the sign-on starts again: the vendor does not say whether a flow can be resumed twice.
    Call: ``GET /{env}/as/resume?flowId={flowID}``. Source: "Resume"; [inferred] for a lost code.
    """

    outcomes = frozenset({"done", FLOW_EXPIRED})
    transitions = {"done": "exchange_token", FLOW_EXPIRED: BACK_TO_AUTHORIZE}
    rate_group = SIGN_ON

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        here = step.context
        if here.code is not None:
            return done(here)  # a redirectless flow may return the code when it completes
        try:
            code = await step.services.sign_on.resume(here.flow_id, here.cookies)
        except MissingError as error:
            raise ExpiredError(error.message, outcome=FLOW_EXPIRED) from error
        if code is None:
            return Outcome(FLOW_EXPIRED, here)
        return done(changed(here, code=code))

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Recovery:
        return Outcome(FLOW_EXPIRED, step.context)


async def _read_flow(step: TokenStep) -> Flow:
    try:
        return await step.services.sign_on.read(step.context.flow_id, step.context.cookies)
    except MissingError as error:
        raise ExpiredError(error.message, outcome=FLOW_EXPIRED) from error


def _asks_for(status: str | None) -> PermanentError:
    return PermanentError(
        f"the environment's sign-on policy asks for {status}, which this workflow does not support; name a policy with username and "
        "password only in --sign-on-policy, or make it the default of the environment",
        code=status,
    )


def _challenge(verifier: Secret) -> str:
    digest = hashlib.sha256(verifier.reveal().encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
