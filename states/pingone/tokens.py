"""The token endpoint, introspection, and the verification of tokens: steps 14 and 15.

Sources: PingOne Platform API, "Token", "Token introspection"; RFC 6749, RFC 7662, RFC 7519.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.utils import base64url_decode

from orchestrator import AmbiguousError, PermanentError, Secret, TransientError
from states.http.bodies import FORM, form_body
from states.http.json_types import JSONObject
from states.pingone.assertion import Assertion
from states.pingone.settings import PingOneSettings

if TYPE_CHECKING:
    from states.http.session import Session

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LEEWAY_S = 30
"""Tolerated difference between the clocks."""


class ExpiredTokenError(PermanentError):
    """The access token has expired."""


class Tokens:
    """Calls below ``{auth}/{environment}/as``."""

    def __init__(self, session: Session, settings: PingOneSettings) -> None:
        self._session = session
        self.issuer = f"{settings.auth_root(settings.managed)}/as"
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetching = anyio.Lock()

    async def exchange(
        self, code: Secret, assertion: Assertion, *, scope: str, redirect_uri: str | None, verifier: Secret | None
    ) -> Secret:
        """The access token for a code. Raises ``RefusedGrantError`` if the code was used before or has expired."""
        fields = {"grant_type": "authorization_code", "code": code.reveal(), "scope": scope, **_authentication(assertion)}
        if redirect_uri is not None:
            fields["redirect_uri"] = redirect_uri
        if verifier is not None:
            fields["code_verifier"] = verifier.reveal()
        reply = await self._session.send(
            "get the access token",
            "POST",
            f"{self.issuer}/token",
            body=form_body(fields),
            media_type=FORM,
            secrets=[code, assertion.text, *([verifier] if verifier else [])],
        )
        token = reply.json().get("access_token")
        if not isinstance(token, str):
            raise AmbiguousError("get the access token: the response contains none", code="no_token")
        return Secret(token)

    async def introspect(self, token: Secret, assertion: Assertion) -> JSONObject:
        """The introspection of a token."""
        reply = await self._session.send(
            "introspect the token",
            "POST",
            f"{self.issuer}/introspect",
            body=form_body({"token": token.reveal(), **_authentication(assertion)}),
            media_type=FORM,
            secrets=[token, assertion.text],
        )
        return reply.json()

    async def verify(self, token: Secret, *, audience: str) -> tuple[JSONObject, JSONObject]:
        """Header and claims of an access token, after checking its signature, issuer, audience and expiry.

        Raises:
            ExpiredTokenError: The signature is valid, but the token has expired (this is checked before issuer and audience).
            PermanentError: Any other check failed.
        """
        try:
            key = await self._key(_kid(token.reveal()))
            found = jwt.decode_complete(
                token.reveal(),
                key,
                algorithms=["RS256"],
                issuer=self.issuer,
                audience=audience,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise ExpiredTokenError("the access token has expired", code="token_expired") from error
        except jwt.PyJWTError as error:
            # PyJWT's messages quote claims of the token, never the token.
            raise PermanentError(f"the access token is not valid: {error}", code="token_invalid") from error
        return found["header"], found["payload"]

    async def _key(self, kid: str) -> RSAPublicKey:
        """A key of the JWKS. Keys are parsed once; an unknown key id causes another read of the JWKS."""
        if kid not in self._keys:
            async with self._fetching:
                if kid not in self._keys:
                    await self._read_jwks()
        if kid not in self._keys:
            raise PermanentError(f"the access token is signed with the key {kid!r}, which is not in the JWKS", code="unknown_key")
        return self._keys[kid]

    async def _read_jwks(self) -> None:
        try:
            data = (await self._session.send("read the JWKS", "GET", f"{self.issuer}/jwks")).json()
        except AmbiguousError as error:
            # A read has no effect, so its failure is never ambiguous.
            raise TransientError(error.message, code=error.code, retry_after=error.retry_after) from error
        rows = data.get("keys")
        if not isinstance(rows, list):
            raise TransientError("read the JWKS: the response contains no list of keys", code="not_a_jwks")
        self._keys = {str(row.get("kid")): key for row in rows if isinstance(row, dict) and (key := _parsed(row)) is not None}


def _parsed(row: JSONObject) -> RSAPublicKey | None:
    """The RSA key of a JWK; ``None`` if it has another type or is malformed."""
    if row.get("kty") != "RSA":
        return None
    try:
        key = jwt.PyJWK(row, algorithm="RS256").key
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    return key if isinstance(key, RSAPublicKey) else None


def _kid(token: str) -> str:
    """The key id in the header of a token. (PyJWT would parse and copy the whole token to get it.)"""
    try:
        header = orjson.loads(base64url_decode(token.partition(".")[0]))
        return str(header.get("kid"))
    except (ValueError, AttributeError) as error:
        raise jwt.DecodeError("its header is not JSON") from error


def _authentication(assertion: Assertion) -> dict[str, str]:
    return {"client_assertion": assertion.text.reveal(), "client_assertion_type": ASSERTION_TYPE}
