"""The context of an instance. Ids are empty until the object is created."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping
from typing import Any

import attrs

from orchestrator import Proof, Secret, visible
from states.pingone.assertion import ClientAuthentication, new_private_key
from states.token_fulfillment import names
from states.token_fulfillment.settings import TokenFulfillmentSettings


@attrs.frozen(kw_only=True)
class Verified:
    """The result of a verified sign-on."""

    claim: str
    sent: Any
    found: Any
    key_id: str
    algorithm: str
    audience: str
    scope: str
    expires_at: float
    in_introspection: bool
    """Whether the introspection shows the claim too. The vendor's pages disagree on that."""


@attrs.frozen(kw_only=True)
class TokenRow:
    """The input of one instance, for ``--data``. Every column may be left out, or be empty."""

    username: str | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.max_len(128)))
    """It must be free in the environment; by default it derives from the instance."""
    email: str | None = attrs.field(default=None)
    given_name: str | None = None
    family_name: str | None = None
    password: Secret | None = None
    """It must meet the password policy; by default a random one."""
    value: str | None = None
    """Value of the claim in the assertion."""

    @email.validator
    def _check_email(self, _: object, email: str | None) -> None:
        if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
            raise ValueError(f"column 'email': {email!r} is not an email address")


@attrs.frozen(kw_only=True, slots=False)  # no slots: a checkpoint encodes its dictionary as it is
class TokenContext:
    """The context of the token-fulfillment workflow."""

    value: str
    """Value of the custom claim."""
    username: str
    email: str
    given_name: str = "Token"
    family_name: str = "User"
    password: Secret
    private_key: Secret | None = None
    """For ``PRIVATE_KEY_JWT``. It is created with the instance, so it is stored before the application that trusts it."""
    origin: str
    """Id of the instance that created the objects; their names derive from it. With ``--reuse`` it is an instance of another run."""

    application_id: str = ""
    application_secret: Secret | None = None
    resource_id: str = ""
    scope_id: str = ""
    attribute_id: str = ""
    grant_id: str = ""
    population_id: str = ""
    user_id: str = ""

    made_at: float | None = None
    """Unix time at which the newest of these objects was created. Other parts of PingOne may not know it yet."""

    flow_id: str = ""
    cookies: Mapping[str, Secret] = attrs.field(factory=dict)
    """Cookies of this sign-on. They are part of the instance, so they survive a resume."""
    verifier: Secret | None = None
    """PKCE code verifier."""
    code: Secret | None = None
    access_token: Secret | None = None
    sent_header: Mapping[str, Any] = attrs.field(factory=dict)
    sent_claims: Mapping[str, Any] = attrs.field(factory=dict)
    """Header and claims of the assertion in the token request."""
    verified: Verified | None = None


def changed(context: TokenContext, **fields: object) -> TokenContext:
    """``attrs.evolve`` for this class in a fifth of the time: each step makes at least one copy."""
    copy = TokenContext.__new__(TokenContext)
    copy.__dict__.update(context.__dict__, **fields)
    assert len(copy.__dict__) == len(context.__dict__), "a field has another name"
    return copy


def initial_context(run_id: str, number: int, settings: TokenFulfillmentSettings, row: TokenRow | None) -> TokenContext:
    """The first context of an instance, with the secrets that it will use."""
    with_key = settings.auth_method is ClientAuthentication.PRIVATE_KEY_JWT
    origin, row = f"{run_id}-{number}", row or TokenRow()
    value = settings.value if row.value is None else row.value
    return TokenContext(
        value=f"customValue-{origin}" if value is None else value,
        username=row.username or names.username(origin),
        email=row.email or names.email(origin),
        given_name=row.given_name or "Token",
        family_name=row.family_name or "User",
        password=row.password or new_password(),
        private_key=new_private_key() if with_key else None,
        origin=origin,
    )


_CLASSES = (string.ascii_uppercase, string.ascii_lowercase, string.digits, "~!@#$%^&*()-_=+")


def new_password() -> Secret:
    """A random password that the vendor's standard policy accepts. The classes of characters alternate, so each occurs and
    no character is repeated. About 83 bits."""
    chars = [_CLASSES[place % 4][byte % len(_CLASSES[place % 4])] for place, byte in enumerate(secrets.token_bytes(20))]
    return Secret("".join(chars))


def prove(context: TokenContext) -> Proof:
    """The facts that a completed instance has proved, for display."""
    proof = context.verified
    if proof is None:
        return Proof(facts={})
    shown = "shown there too" if proof.in_introspection else "not shown there"
    return Proof(
        facts={
            "claim sent": f"{proof.claim} should be {_short(proof.sent)}",
            "claim found": f"{proof.claim} = {_short(proof.found)}",
            "token verified": f"{proof.algorithm} signature (key {proof.key_id}), issuer, audience {proof.audience}, scope "
            f"{proof.scope}, expiry",
            "introspection": f"active; claim {shown}",
        }
    )


def _short(value: Any) -> str:
    text = visible(f'"{value}"' if isinstance(value, str) else str(value))
    return text if len(text) <= 100 else text[:97] + "…"
