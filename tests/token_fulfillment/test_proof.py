"""The proof of an instance: what the token and its introspection must say, and each way in which they may not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import ExpiredError, PermanentError, TransientError
from states.token_fulfillment import TokenFulfillmentSettings, names
from states.token_fulfillment.tokens import CUSTOM_CLAIM, _verified

ORIGIN = "261124-d68w5p-0"
NOW = 1_000_000.0
SETTINGS = TokenFulfillmentSettings()
SCOPE, AUDIENCE = names.scope(ORIGIN), names.audience(ORIGIN)
HEADER = {"kid": "one", "alg": "RS256"}
CLAIMS = {"scope": f"openid {SCOPE}", "exp": NOW + 3600, SETTINGS.claim: "sent"}
INTROSPECTION = {"active": True, "scope": SCOPE, "aud": [AUDIENCE], SETTINGS.claim: "sent"}


def verified(claims: dict[str, Any] | None = None, introspection: dict[str, Any] | None = None) -> Any:
    """The proof by the usual answers, with these changes."""
    step: Any = SimpleNamespace(
        services=SimpleNamespace(settings=SETTINGS),
        context=SimpleNamespace(origin=ORIGIN, sent_header={}, sent_claims={CUSTOM_CLAIM: "sent"}),
        clock=SimpleNamespace(now=lambda: NOW),
    )
    return _verified(step, HEADER, CLAIMS | (claims or {}), INTROSPECTION | (introspection or {}))


def test_a_token_with_the_claim_is_the_proof() -> None:
    proof = verified()
    assert (proof.sent, proof.found, proof.scope, proof.audience, proof.in_introspection) == (
        "sent",
        "sent",
        SCOPE,
        AUDIENCE,
        True,
    )
    assert (proof.key_id, proof.algorithm, proof.expires_at) == ("one", "RS256", NOW + 3600)


def test_an_introspection_may_leave_out_the_claim_but_that_is_said() -> None:
    assert verified(introspection={SETTINGS.claim: None}).in_introspection is False


@pytest.mark.parametrize(
    ("claims", "introspection", "code"),
    [
        ({SETTINGS.claim: "another"}, {}, "claim"),
        ({SETTINGS.claim: None}, {}, "claim"),
        ({"scope": "openid"}, {}, "scope"),
        ({}, {"scope": f"{SCOPE}x"}, "scope"),
        ({}, {"aud": "https://elsewhere.example.com"}, "audience"),
    ],
)
def test_a_token_that_proves_nothing_fails_for_good(claims: dict[str, Any], introspection: dict[str, Any], code: str) -> None:
    with pytest.raises(PermanentError) as failed:
        verified(claims, introspection)
    assert failed.value.code == code


@pytest.mark.parametrize("active", [False, "true", None, 1])
def test_a_token_that_is_not_active_is_no_proof(active: object) -> None:
    with pytest.raises((PermanentError, TransientError)) as refused:
        verified(introspection={"active": active})
    assert refused.value.code == "inactive"
    with pytest.raises(ExpiredError) as expired:
        verified({"exp": NOW - 60}, {"active": active})
    assert expired.value.outcome == "token_expired"
