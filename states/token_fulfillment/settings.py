"""The settings of the workflow, in addition to those of its tenant."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import urlsplit

import attrs

from orchestrator import SettingError, setting
from states.pingone.assertion import ClientAuthentication, HmacAlgorithm
from states.pingone.settings import PingOneSettings

CUSTOM_CLAIM = "custom1"
"""The claim of the assertion that the default mapping reads."""


RESERVED_CLAIMS = frozenset(
    ("acr", "amr", "aud", "auth_time", "client_id", "env", "exp", "iat", "iss", "jti", "org", "scope", "sid", "sub")
)
"""Names that an attribute mapping cannot have."""


class ResponseMode(StrEnum):
    """How authorize and resume respond."""

    REDIRECT = "redirect"
    PI_FLOW = "pi.flow"


class Pkce(StrEnum):
    """Whether the application enforces PKCE. If it does, a code challenge is sent."""

    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"
    S256_REQUIRED = "S256_REQUIRED"


class Expression(StrEnum):
    """The part of the assertion that the attribute mapping reads. Source: "Authentication JWT token fulfillment"."""

    CLAIM = "claim"
    ASSERTION = "assertion"
    HEADER_FIELD = "header-field"
    HEADER = "header"
    REQUEST_DATA = "request-data"
    AUTH_METHOD = "auth-method"

    @property
    def text(self) -> str:
        """The expression of the mapping."""
        path = {
            "claim": f"requestData.clientAssertion.{CUSTOM_CLAIM}",
            "assertion": "requestData.clientAssertion",
            "header-field": "requestData.clientAssertionHeader.alg",
            "header": "requestData.clientAssertionHeader",
            "request-data": "requestData",
            "auth-method": "appConfig.tokenEndpointAuthMethod",
        }[self.value]
        return f"${{#root.context.{path}}}"

    def expected(self, header: Mapping[str, object], claims: Mapping[str, object], method: ClientAuthentication) -> object:
        """The value that the token's claim must have for this assertion."""
        values: dict[str, object] = {
            "claim": claims.get(CUSTOM_CLAIM),
            "assertion": dict(claims),
            "header-field": header.get("alg"),
            "header": dict(header),
            "request-data": {"clientAssertion": dict(claims), "clientAssertionHeader": dict(header)},
            "auth-method": method.value,
        }
        return values[self.value]


_GROUP = "Workflow"


@attrs.frozen(kw_only=True)
class TokenFulfillmentSettings(PingOneSettings):
    """A tenant and the options of the workflow."""

    auth_method: ClientAuthentication = setting(
        "How the application authenticates.", default=ClientAuthentication.CLIENT_SECRET_JWT, group=_GROUP
    )
    algorithm: HmacAlgorithm = setting("Signs the assertion of CLIENT_SECRET_JWT.", default=HmacAlgorithm.HS256, group=_GROUP)
    response_mode: ResponseMode = setting("How authorize and resume respond.", default=ResponseMode.REDIRECT, group=_GROUP)
    expression: Expression = setting(
        "Part of the assertion that the attribute mapping reads.", default=Expression.CLAIM, group=_GROUP
    )
    pkce: Pkce = setting("Whether the application enforces PKCE.", default=Pkce.OPTIONAL, group=_GROUP)
    claim: str = setting("Name of the claim in the access token.", default="clientAssertion_custom", group=_GROUP)
    value: str | None = setting(
        "Value of the claim in the assertion; by default it contains the id of the instance.", group=_GROUP
    )
    sign_on_policy: str | None = setting(
        "Sign-on policy to assign to the application, by name or id; by default that of the environment.", group=_GROUP
    )
    redirect_uri: str = setting(
        "Redirect URI of the application; it is never requested.", default="https://www.example.com", group=_GROUP
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.claim.lower() in RESERVED_CLAIMS or self.claim.lower().startswith("p1."):
            raise SettingError("claim", f"{self.claim!r} is a name that PingOne reserves")
        if not self.claim.strip():
            raise SettingError("claim", "a claim needs a name")
        if self.sign_on_policy is not None and not self.sign_on_policy.strip():
            raise SettingError("sign-on-policy", "must be the name or the id of a policy, not empty")
        _check_redirect_uri(self.redirect_uri)


def _check_redirect_uri(uri: str) -> None:
    """Refuse other URIs than https, a custom scheme, or http on loopback; no wildcards. Source: the vendor's SDK."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError as error:
        raise SettingError("redirect-uri", f"{uri!r} is not an address ({error})") from error
    if not parts.scheme or not (host or parts.path) or any(c.isspace() or c in "*#" for c in uri):
        raise SettingError("redirect-uri", f"{uri!r} is not an address of the form https://host/path, without * and #")
    if parts.scheme in ("http", "https") and not host:
        raise SettingError("redirect-uri", f"{uri!r} names no host")
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1"):
        raise SettingError("redirect-uri", f"{uri!r}: http is for localhost only; use https")
