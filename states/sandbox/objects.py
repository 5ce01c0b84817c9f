"""The stored objects of the emulated environment."""

from __future__ import annotations

from typing import TypeVar

import attrs

from states.sandbox.json_types import JSONObject


@attrs.frozen(kw_only=True)
class Row:
    """The fields of every object."""

    id: str
    created_at: float


R = TypeVar("R", bound=Row)


@attrs.frozen(kw_only=True)
class Application(Row):
    """An OIDC application; ``body`` has the fields that are stored unchanged."""

    name: str
    body: JSONObject
    secret: str
    updated_at: float | None = None
    """``None``: never; so for all others."""


@attrs.frozen(kw_only=True)
class Resource(Row):
    """A resource."""

    name: str
    description: str | None
    audience: str
    token_lifetime_s: int
    introspect_auth_method: str
    secret: str
    type: str = "CUSTOM"
    permissions_claim: bool = False
    updated_at: float | None = None


@attrs.frozen(kw_only=True)
class Scope(Row):
    """A scope of a resource."""

    resource_id: str
    name: str
    description: str | None


@attrs.frozen(kw_only=True)
class Attribute(Row):
    """A mapping of a resource: claim name and expression."""

    resource_id: str
    name: str
    value: str
    type: str


@attrs.frozen(kw_only=True)
class Grant(Row):
    """Scopes of one resource, granted to an application."""

    application_id: str
    resource_id: str
    scope_ids: tuple[str, ...]


@attrs.frozen(kw_only=True)
class PolicyAssignment(Row):
    """A sign-on policy of an application. The lowest ``priority`` is used first."""

    application_id: str
    policy_id: str
    priority: int


@attrs.frozen(kw_only=True)
class Population(Row):
    """A population."""

    name: str
    description: str | None
    default: bool
    theme_id: str | None = None
    password_policy_id: str | None = None
    """``None`` for that of the environment."""
    preferred_language: str = "en"
    alternative_identifiers: tuple[str, ...] = ()
    is_built_in: bool = False
    """Whether the environment has it from the start."""
    updated_at: float | None = None


@attrs.frozen(kw_only=True)
class User(Row):
    """A user with its passwords, which are needed for the check of the history."""

    population_id: str
    username: str
    email: str
    given: str | None = None
    family: str | None = None
    enabled: bool = True
    mfa_enabled: bool = False
    profile: dict[str, str] = attrs.field(factory=dict)
    """Its other text attributes, with the vendor's names."""
    passwords: tuple[str, ...] = ()
    password_set_at: float = 0.0
    must_change: bool = False
    failed_sign_ons: int = 0
    locked_until: float = 0.0
    updated_at: float | None = None


@attrs.frozen(kw_only=True)
class Flow(Row):
    """A sign-on flow. ``request`` has the parameters of authorize."""

    expires_at: float
    application_id: str
    request: dict[str, str]
    cookie: str
    first_cookie: str | None = None
    """The cookie that authorize set, if any. It gives access to the flow, but only ``cookie`` can resume it."""
    user_id: str | None = None
    completed_at: float | None = None
    resumed: bool = False


@attrs.frozen(kw_only=True)
class Code(Row):
    """An authorization code. Its id is the code."""

    flow_id: str
    application_id: str
    user_id: str
    signed_on_at: float
    request: dict[str, str]
    spent: bool = False
