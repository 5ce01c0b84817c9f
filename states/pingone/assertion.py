"""Client assertions and the keys that sign them.

Source: PingOne Platform API, "Create a client secret JWT"; RFC 7523.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

import attrs
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from jwt.algorithms import ECAlgorithm, get_default_algorithms
from jwt.utils import base64url_encode

from orchestrator import Secret

LIFETIME_S = 300
"""Seconds until an assertion expires. PingOne accepts up to one hour."""


class ClientAuthentication(StrEnum):
    """How the application authenticates: the two methods that work with token fulfillment."""

    CLIENT_SECRET_JWT = "CLIENT_SECRET_JWT"
    PRIVATE_KEY_JWT = "PRIVATE_KEY_JWT"


class HmacAlgorithm(StrEnum):
    """For ``CLIENT_SECRET_JWT``."""

    HS256 = "HS256"
    HS384 = "HS384"
    HS512 = "HS512"


KEY_ALGORITHM = "ES256"
"""For ``PRIVATE_KEY_JWT``: a key pair for each instance costs microseconds, where RSA takes tenths of a second.

Source: "PRIVATE_KEY_JWT Setup", which names RS256 to RS512 and ES256 to ES512. (The administrator's guide, "Token endpoint
authentication methods", names RS256 to RS512 only.)
"""


_ALGORITHMS = get_default_algorithms()


@attrs.frozen(kw_only=True)
class Assertion:
    """A signed assertion, its header and its claims."""

    text: Secret
    header: Mapping[str, object]
    claims: Mapping[str, object]


def new_private_key() -> Secret:
    """A fresh P-256 key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def jwks(private_key: Secret, kid: str) -> str:
    """The public key in the form that the application wants: a JWKS, as JSON in a string.

    Source: "Create a private_key_jwt JWKS string".
    """
    jwk = ECAlgorithm.to_jwk(_parsed(private_key).public_key(), as_dict=True)
    return orjson.dumps({"keys": [jwk | {"kid": kid, "use": "sig", "alg": KEY_ALGORITHM}]}).decode()


def sign(
    *,
    client_id: str,
    audience: str,
    claims: Mapping[str, object],
    now: float,
    secret: Secret | None,
    algorithm: HmacAlgorithm,
    private_key: Secret | None,
    kid: str,
) -> Assertion:
    """An assertion with the client as issuer and subject, plus ``claims``. It is signed with ``private_key`` if that is given, else
    with ``secret``."""
    payload = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": int(now),
        "exp": int(now) + LIFETIME_S,
        "jti": str(uuid.uuid4()),
        **claims,
    }
    if private_key is not None:
        header = {"alg": KEY_ALGORITHM, "typ": "JWT", "kid": kid}
        text = _signed(header, payload, _parsed(private_key))
    else:
        assert secret is not None
        header = {"alg": algorithm.value, "typ": "JWT"}
        text = _signed(header, payload, secret.reveal().encode())
    return Assertion(text=Secret(text), header=header, claims=payload)


def _signed(header: Mapping[str, object], payload: Mapping[str, object], key: ec.EllipticCurvePrivateKey | bytes) -> str:
    """The compact form of a JWT, signed by PyJWT's algorithm. (``jwt.encode`` takes three times as long: it looks for a PEM or a
    certificate in every HMAC key, and uses the JSON of the standard library.)

    Source: RFC 7515 section 7.1.
    """
    signed = b".".join(base64url_encode(orjson.dumps(part)) for part in (header, payload))
    return (signed + b"." + base64url_encode(_ALGORITHMS[str(header["alg"])].sign(signed, key))).decode()


@lru_cache(maxsize=4096)
def _parsed(private_key: Secret) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(private_key.reveal().encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
