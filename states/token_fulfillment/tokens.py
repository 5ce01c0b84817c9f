"""Steps 14 and 15: exchange the code for a token, and prove that the token contains the claim."""

from __future__ import annotations

import orjson

from orchestrator import Back, ExpiredError, NextRound, Outcome, PermanentError, Recovery, Repeat, done
from states.http.json_types import JSONObject
from states.pingone.answers import RefusedGrantError, UnauthorizedError
from states.pingone.assertion import Assertion, sign
from states.pingone.tokens import LEEWAY_S, ExpiredTokenError
from states.token_fulfillment import names
from states.token_fulfillment.context import TokenContext, Verified, changed
from states.token_fulfillment.settings import CUSTOM_CLAIM
from states.token_fulfillment.steps import PROPAGATION_RETRY, SIGN_ON, TOKEN_CHECK, Grace, TokenState, TokenStep, settings_of

CLAIM_PAUSE_S = 2.0
"""Pause before another sign-on after a token without the claim."""


class InactiveTokenError(PermanentError):
    """The introspection says that a valid token is not active."""


class ExchangeToken(TokenState):
    """Exchange the code and the assertion for an access token.

    Effect: the code is used up, and a token exists, which expires by itself. A code works once: if the response is lost, the
    sign-on starts again.
    Call: ``POST /{env}/as/token``. Source: workflow page "Get the access token"; RFC 7523.
    """

    outcomes = frozenset({"done", "code_expired", "code_spent"})
    transitions = {
        "done": "introspect_token",
        "code_expired": Back("authorize", at_most=5),
        "code_spent": Back("authorize", at_most=5),
    }
    rate_group = SIGN_ON
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        here = step.context
        assertion = _assertion(step)
        assert here.code is not None
        with Grace(step, UnauthorizedError):
            try:
                token = await step.services.tokens.exchange(
                    here.code,
                    assertion,
                    scope=names.scope(step.context.origin),
                    redirect_uri=settings_of(step).redirect_uri,
                    verifier=here.verifier,
                )
            except RefusedGrantError as error:
                raise ExpiredError(error.message, outcome="code_expired") from error
        return done(changed(here, code=None, access_token=token, sent_header=assertion.header, sent_claims=assertion.claims))

    async def recover(self, step: TokenStep) -> Outcome[TokenContext] | Recovery:
        return Outcome("code_spent", step.context)


class IntrospectToken(TokenState):
    """Prove that a claim of the assertion is in the token.

    The proof is the token itself, verified against the JWKS: signature, issuer, audience, expiry, scope, and the
    claim with the value that was sent. The introspection must say *active*. The vendor's pages disagree on whether it shows custom
    claims, so the report only says whether it does.

    Effect: none.
    Call: ``POST /{env}/as/introspect``. Source: workflow page "Token introspection"; RFC 7662, RFC 7519.
    """

    outcomes = frozenset({"done", "token_expired", "claim_missing", "again"})
    transitions = {
        "done": "completed",
        "token_expired": Back("authorize", at_most=3),
        "claim_missing": Back("authorize", at_most=2),  # [inferred] the token service does not know the mapping yet
        "again": NextRound("authorize"),
    }
    rate_group = TOKEN_CHECK
    repeat = Repeat.FREELY
    retry = PROPAGATION_RETRY

    async def run(self, step: TokenStep) -> Outcome[TokenContext]:
        token = step.context.access_token
        assert token is not None
        with Grace(step, UnauthorizedError):
            answer = await step.services.tokens.introspect(token, _assertion(step))
        try:
            header, claims = await step.services.tokens.verify(token, audience=names.audience(step.context.origin))
        except ExpiredTokenError as error:
            raise ExpiredError(error.message, outcome="token_expired") from error
        if claims.get(settings_of(step).claim) is None and _expected(step) is not None:
            await step.clock.sleep(CLAIM_PAUSE_S)
            raise ExpiredError(f"the claim {settings_of(step).claim} is not in the access token", outcome="claim_missing")
        with Grace(step, InactiveTokenError, since=step.context.sent_claims["iat"]):
            verified = _verified(step, header, claims, answer)
        return Outcome("again" if step.another_round else "done", changed(step.context, verified=verified))


def _assertion(step: TokenStep) -> Assertion:
    here, settings = step.context, settings_of(step)
    return sign(
        client_id=here.application_id,
        audience=step.services.tokens.issuer,
        claims={CUSTOM_CLAIM: here.value},
        now=step.clock.now(),
        secret=here.application_secret,
        algorithm=settings.algorithm,
        private_key=here.private_key,
        kid=names.key_id(step.context.origin),
    )


def _verified(step: TokenStep, header: JSONObject, claims: JSONObject, introspection: JSONObject) -> Verified:
    settings, scope, audience = settings_of(step), names.scope(step.context.origin), names.audience(step.context.origin)
    if introspection.get("active") is not True:
        if claims["exp"] <= step.clock.now() + LEEWAY_S:
            raise ExpiredError("introspection says that the token is not active any more", outcome="token_expired")
        raise InactiveTokenError("introspection says that the token is not active, although it is valid", code="inactive")
    # RFC 7662: scope and audience of an introspection are optional. Those of the token are the proof.
    for where, answer in (("the token", claims), ("the introspection", {"scope": scope, **introspection})):
        if scope not in str(answer.get("scope", "")).split():
            raise PermanentError(f"{where} has the scope {answer.get('scope')!r}, which does not include {scope}", code="scope")
    if audience not in _as_list(introspection.get("aud", audience)):
        raise PermanentError(
            f"the introspection names the audience {introspection.get('aud')!r}, not {audience}", code="audience"
        )
    expected, found = _expected(step), claims.get(settings.claim)
    if not _same(found, expected):
        raise PermanentError(
            f"the claim {settings.claim} is {found!r} in the access token; for the assertion it should be {expected!r}",
            code="claim",
        )
    return Verified(
        claim=settings.claim,
        sent=expected,
        found=found,
        key_id=str(header.get("kid")),
        algorithm=str(header.get("alg")),
        audience=audience,
        scope=scope,
        expires_at=float(claims["exp"]),
        in_introspection=_same(introspection.get(settings.claim), expected),
    )


def _expected(step: TokenStep) -> object:
    """The value that the mapping produces for the assertion that was sent."""
    settings = settings_of(step)
    return settings.expression.expected(step.context.sent_header, step.context.sent_claims, settings.auth_method)


def _same(found: object, expected: object) -> bool:
    """Whether the values are equal, or ``found`` is the JSON text of ``expected``. The vendor does not say how a token shows a map."""
    if found == expected:
        return True
    if isinstance(found, str) and not isinstance(expected, str):
        try:
            return bool(orjson.loads(found) == expected)
        except orjson.JSONDecodeError:
            return False
    return False


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
