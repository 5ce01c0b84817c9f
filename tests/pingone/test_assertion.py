"""Assertions of the client, signed with a secret or a private key."""

from __future__ import annotations

import json

import jwt
import pytest

from orchestrator import Secret
from states.pingone.assertion import HmacAlgorithm, jwks, new_private_key, sign


@pytest.mark.parametrize("algorithm", list(HmacAlgorithm))
def test_an_assertion_has_the_claims_that_the_vendor_requires(algorithm: HmacAlgorithm) -> None:
    secret = Secret("s" * 64)
    made = sign(
        client_id="app",
        audience="aud",
        claims={"custom1": "v"},
        now=1e9,
        secret=secret,
        algorithm=algorithm,
        private_key=None,
        kid="k",
    )
    read = jwt.decode(made.text.reveal(), "s" * 64, algorithms=[algorithm.value], audience="aud", options={"verify_exp": False})
    assert read == made.claims
    assert jwt.get_unverified_header(made.text.reveal()) == made.header
    assert (read["iss"], read["sub"], read["custom1"]) == ("app", "app", "v")
    assert 0 < read["exp"] - 1e9 <= 3600


def test_an_assertion_of_a_private_key_verifies_with_the_jwks_of_the_application() -> None:
    key = new_private_key()
    made = sign(
        client_id="app", audience="aud", claims={}, now=1e9, secret=None, algorithm=HmacAlgorithm.HS256, private_key=key, kid="k"
    )
    public = jwt.PyJWKSet.from_json(jwks(key, "k"))["k"]
    jwt.decode(made.text.reveal(), public, algorithms=["ES256"], audience="aud", options={"verify_exp": False})
    assert "d" not in json.loads(jwks(key, "k"))["keys"][0]
