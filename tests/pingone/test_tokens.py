"""An access token is verified against the JWKS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import orjson
import pytest

from orchestrator import PermanentError, Secret, StepError, SystemClock, TransientError
from states.pingone.tokens import ExpiredTokenError
from tests.support.pingone import client
from tests.support.tenant import signing_key
from tests.support.transport import FakeTransport


def claims_of(**changes: Any) -> dict[str, Any]:
    now = int(SystemClock().now())
    return {"iss": "https://auth.pingone.eu/env-1/as", "aud": ["https://aud"], "exp": now + 60, "scope": "s"} | changes


BAD_TOKENS: dict[str, tuple[Callable[[], dict[str, Any]], type[StepError]]] = {
    "expired": (lambda: claims_of(exp=1), ExpiredTokenError),
    "of another issuer": (lambda: claims_of(iss="https://other"), PermanentError),
    "for another audience": (lambda: claims_of(aud="https://other"), PermanentError),
    "without an expiry": (lambda: {"iss": "https://auth.pingone.eu/env-1/as", "aud": "https://aud"}, PermanentError),
}


@pytest.mark.parametrize("case", list(BAD_TOKENS))
async def test_a_token_is_not_believed_without_proof(http: FakeTransport, case: str) -> None:
    claims, cls = BAD_TOKENS[case]
    http.get("https://auth.pingone.eu/env-1/as/jwks", json={"keys": [signing_key().jwk]})
    pingone = client(http)
    good = await pingone.tokens.verify(Secret(signing_key().sign(claims_of(), "at+jwt")), audience="https://aud")
    assert good[1]["scope"] == "s"
    with pytest.raises(PermanentError) as refused:
        await pingone.tokens.verify(Secret(signing_key().sign(claims(), "at+jwt")), audience="https://aud")
    assert type(refused.value) is cls


async def test_a_token_of_an_unknown_or_wrong_key_is_refused(http: FakeTransport) -> None:
    http.get("https://auth.pingone.eu/env-1/as/jwks", json={"keys": [signing_key().jwk]}, repeat=True)
    unknown = jwt.encode(claims_of(), signing_key().private, algorithm="RS256", headers={"kid": "other"})
    forged = jwt.encode(claims_of(), "s" * 64, algorithm="HS256", headers={"kid": signing_key().kid})
    pingone = client(http)
    with pytest.raises(PermanentError, match="not in the JWKS"):
        await pingone.tokens.verify(Secret(unknown), audience="https://aud")
    for text in (forged, "nonsense", "a.b.c"):
        with pytest.raises(PermanentError):
            await pingone.tokens.verify(Secret(text), audience="https://aud")


@pytest.mark.parametrize(
    "answer",
    [[], "no JSON", {}, {"keys": 7}, {"keys": {"kty": "RSA"}}],
    ids=["a list", "text", "empty", "a number", "one key"],
)
async def test_a_malformed_jwks_is_read_again_later(http: FakeTransport, answer: Any) -> None:
    body = answer.encode() if isinstance(answer, str) else orjson.dumps(answer)
    http.get("https://auth.pingone.eu/env-1/as/jwks", body=body)
    http.get("https://auth.pingone.eu/env-1/as/jwks", json={"keys": [signing_key().jwk]})
    token = Secret(signing_key().sign(claims_of(), "at+jwt"))
    pingone = client(http)
    with pytest.raises(TransientError):
        await pingone.tokens.verify(token, audience="https://aud")
    assert (await pingone.tokens.verify(token, audience="https://aud"))[1]["scope"] == "s"


async def test_keys_of_a_jwks_that_cannot_be_used_are_passed_over(http: FakeTransport) -> None:
    good = signing_key().jwk
    bad: list[Any] = [
        7,
        None,
        [],
        {},
        {"kty": "RSA"},
        {"kty": ["RSA"]},
        {**good, "n": 7},
        {**good, "n": "!"},
        {**good, "e": ""},
        {**good, "e": "AA"},
    ]
    http.get(
        "https://auth.pingone.eu/env-1/as/jwks",
        json={"keys": [*bad, good, *({"kid": "x", **row} for row in bad if isinstance(row, dict) and "kid" not in row)]},
    )
    pingone = client(http)
    token = Secret(signing_key().sign(claims_of(), "at+jwt"))
    assert (await pingone.tokens.verify(token, audience="https://aud"))[1]["scope"] == "s"
