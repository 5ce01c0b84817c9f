"""Settings of the sandbox. What the vendor leaves open is a setting, with the likeliest reading as its default."""

from __future__ import annotations

import math
from enum import StrEnum
from types import NoneType
from typing import Any, get_args, get_type_hints

import attrs


class AuthorizeError(StrEnum):
    """How authorize tells an error once client and redirect URI are known to be good."""

    REDIRECT = "redirect"
    """302 to the redirect URI with ``error`` and ``error_description`` (RFC 6749 section 4.1.2.1)."""
    SIGN_ON_PAGE = "sign-on page"
    """302 to the sign-on page with ``error=<JSON>``."""
    BODY = "body"
    """400 with an error body."""


@attrs.frozen(kw_only=True)
class SandboxSettings:
    """Times are in seconds. Raises ``ValueError`` for what cannot be."""

    seed: int | None = None
    """Makes ids and faults repeatable; ``None``: random ones."""
    worker_id: str | None = None
    worker_secret: str | None = None
    environment_id: str | None = None
    """``None``: made up (from the seed, if there is one)."""

    worker_token_lifetime_s: float = 3600
    code_lifetime_s: float = 600
    flow_lifetime_s: float = 900
    """Of inactivity; a sign-on that was finished is remembered as long."""

    secret_delay_s: float = 0
    """How long after its application a secret answers 404."""
    grant_delay_s: float = 0
    """How long after its creation an application answers 404 to grants, and a grant does not count yet."""
    list_delay_s: float = 0
    """How long a new object is missing from lists."""
    deleted_listed_s: float = 0
    """How long a deleted application stays in lists."""
    user_count_delay_s: float = 0
    """How long a deleted user still counts in its population."""

    configuration_per_minute: int = 0
    """Configuration calls that are let through in any minute; the vendor lets one address make 210. 0: no limit."""
    page_size: int = 100
    max_applications: int = 1000
    unique_application_names: bool = False
    names_ignore_case: bool = True
    """Whether uniqueness does."""
    population_delete_status: int = 400
    population_delete_code: str = "CONSTRAINT_VIOLATION"
    """How the delete of a population with users is refused."""
    unknown_environment_status: int = 403
    assertion_error_status: int = 401
    """How ``invalid_client`` is answered when the assertion is at fault."""
    token_typ: str = "at+jwt"
    """``typ`` of access tokens; always ``at+jwt`` from March 2027, ``JWT`` before."""
    maps_as_text: bool = False
    """Whether a map-valued expression becomes JSON text in the token, and not an object."""
    duplicate_status: int = 400
    """400 (with detail ``UNIQUENESS_VIOLATION``) or 409."""
    existing_id: bool = True
    """Whether a uniqueness error carries ``innerError.existingId``."""
    credential_error_code: str = "INVALID_DATA"
    authorize_errors: AuthorizeError = AuthorizeError.REDIRECT
    cookies_at_authorize: bool = True
    """Whether authorize sets ``ST`` already, or only the credential POST does."""
    code_in_flow: bool = False
    """Whether the completing POST of a redirectless flow carries the code already."""
    resume_twice: bool = False
    """Whether a finished flow can be resumed again, for a new code."""
    audience_as_array: bool = True
    claims_in_introspection: bool = True
    """Whether introspection shows custom claims."""
    strict_accept: bool = True
    """Whether ``Accept: application/json`` alone is refused by the flow API with 406."""

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if name.endswith("_s") and not 0 <= value < math.inf:
                raise ValueError(f"{name}: {value:g} is no number of seconds")
        for name, least in (("page_size", 1), ("max_applications", 0), ("configuration_per_minute", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} is less than {least}")


def setting_names() -> list[str]:
    """What :func:`parse_setting` takes."""
    return list(attrs.fields_dict(SandboxSettings))


def parse_setting(text: str) -> tuple[str, Any]:
    """``NAME=VALUE`` as a field of :class:`SandboxSettings` and its value.

    Raises:
        ValueError: There is no such field, or the value does not fit it.
    """
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in setting_names():
        raise ValueError(f"setting {text!r} is not NAME=VALUE with a name of {', '.join(setting_names())}")
    hint = get_type_hints(SandboxSettings)[name]
    kind = next((inner for inner in get_args(hint) if inner is not NoneType), hint)
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise ValueError(f"setting {text!r}: the value is true or false")
        return name, value.lower() == "true"
    try:
        return name, kind(value)
    except ValueError as error:
        raise ValueError(f"setting {text!r}: {error}") from error
