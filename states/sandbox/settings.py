"""Settings of the sandbox. Where the vendor's documentation is ambiguous, there is a setting with the most likely meaning as its default."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from types import NoneType
from typing import Any, TypeAlias, get_args, get_type_hints

import attrs

from states.sandbox.json_types import JSONObject

SINGLE_FACTOR = "Single_Factor"
MULTI_FACTOR = "Multi_Factor"
"""Names of the sign-on policies that every environment has."""

LONGEST_S = 1_000_000_000
"""About 31 years, so that the resulting times are still valid dates."""

_Attribute: TypeAlias = "attrs.Attribute[Any]"
_Validator: TypeAlias = Callable[[object, _Attribute, Any], None]


class AuthorizeError(StrEnum):
    """How authorize reports an error after client and redirect URI have been checked."""

    REDIRECT = "redirect"
    """302 to the redirect URI with ``error`` and ``error_description`` (RFC 6749 section 4.1.2.1)."""
    SIGN_ON_PAGE = "sign-on page"
    """302 to the sign-on page with ``error=<JSON>``."""
    BODY = "body"
    """400 with an error body."""


def _between(least: int, most: int | None = None, unit: str = "") -> _Validator:
    """A check that a number is in a range. ``most`` ``None`` means no maximum."""
    allowed = f"{least} or more{unit}" if most is None else f"between {least} and {most}{unit}"

    def check(_: object, attribute: _Attribute, value: float | None) -> None:
        if value is not None and not (value >= least and (most is None or value <= most)):
            raise ValueError(f"{attribute.name}: must be {allowed}, not {_shown(value)}")

    return check


def _one_of(*values: object) -> _Validator:
    def check(_: object, attribute: _Attribute, value: object) -> None:
        if value not in values:
            allowed = ", ".join(str(one) for one in values)
            raise ValueError(f"{attribute.name}: must be one of {allowed}, not {_shown(value)}")

    return check


def _matching(pattern: str, described: str) -> _Validator:
    def check(_: object, attribute: _Attribute, value: str | None) -> None:
        if value is not None and not re.fullmatch(pattern, value):
            raise ValueError(f"{attribute.name}: must be {described}, not {_shown(value)}")

    return check


def _shown(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


_ID = _matching(r"[A-Za-z0-9._~-]{1,128}", "1 to 128 letters, digits or ._~-")
_CODE = _matching(r"[A-Z][A-Z0-9_]{0,63}", "an error code like INVALID_DATA")


def _seconds(default: float) -> float:
    found: float = attrs.field(default=default, validator=_between(0, LONGEST_S, " seconds"))
    return found


@attrs.frozen(kw_only=True)
class SandboxSettings:
    """Behaviour of the sandbox. Times are in seconds. Raises ``ValueError`` for an invalid value."""

    seed: int | None = None
    """Makes ids and faults repeatable. ``None`` means random ones."""
    worker_id: str | None = attrs.field(default=None, validator=_ID)
    worker_secret: str | None = attrs.field(
        default=None, validator=_matching(r"[!-~]{1,256}", "1 to 256 printable ASCII characters")
    )
    environment_id: str | None = attrs.field(default=None, validator=_ID)
    """``None`` means generated (from the seed, if there is one)."""

    worker_token_lifetime_s: float = _seconds(3600)
    code_lifetime_s: float = _seconds(600)
    flow_lifetime_s: float = _seconds(900)
    """Time of inactivity after which a flow expires. A completed sign-on is kept equally long."""

    worker_auth_method: str = attrs.field(
        default="CLIENT_SECRET_BASIC", validator=_one_of("CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST")
    )
    """How the worker must authenticate."""
    default_policy: str = attrs.field(default=SINGLE_FACTOR, validator=_one_of(SINGLE_FACTOR, MULTI_FACTOR))
    """The sign-on policy of applications without an assignment. ``Multi_Factor`` asks for a one-time password."""
    custom_domain: bool = False
    """Whether sign-on and tokens are also served at the paths of a custom domain, which do not name the environment."""
    flows_need_worker: bool = False
    """Whether ``/flows/{id}`` requires the worker's token in addition to the cookies. The vendor's guides disagree."""

    secret_delay_s: float = _seconds(0)
    """Time after the creation of an application until its secret can be read (404 before)."""
    grant_delay_s: float = _seconds(0)
    """Time after its creation until an application accepts grants (404 before), and until a grant is effective."""
    roles_delay_s: float = _seconds(0)
    """Time after the start of the sandbox until the worker's roles are effective (writes answer 403 before)."""
    reference_delay_s: float = _seconds(0)
    """Time until grants know a new scope, and users a new population."""
    sign_on_delay_s: float = _seconds(0)
    """Time until the sign-on knows a new application, user or password."""
    client_delay_s: float = _seconds(0)
    """Time until the token endpoint and introspection know a new application (``invalid_client`` before)."""
    mapping_delay_s: float = _seconds(0)
    """Time until tokens contain the claim of a new attribute mapping."""
    introspection_delay_s: float = _seconds(0)
    """Time until introspection shows a new token as active."""
    list_delay_s: float = _seconds(0)
    """Time until lists show a new object."""
    deleted_listed_s: float = _seconds(0)
    """Time for which lists still show a deleted application."""
    user_count_delay_s: float = _seconds(0)
    """Time for which a population still counts a deleted user."""

    configuration_per_minute: int = attrs.field(default=0, validator=_between(0))
    """Limit of configuration calls per minute. The vendor allows 210 for one IP address. 0 means no limit."""
    requests_per_connection: int = attrs.field(default=0, validator=_between(0))
    """Number of requests after which a kept connection is closed without notice, so that the next one is not handled. 0 means never."""
    page_size: int = attrs.field(default=100, validator=_between(1, 1000))
    max_applications: int = attrs.field(default=1000, validator=_between(0))
    unique_application_names: bool = False
    names_ignore_case: bool = True
    """Whether names that differ only in case count as equal."""
    population_delete_status: int = attrs.field(default=400, validator=_between(400, 499))
    population_delete_code: str = attrs.field(default="CONSTRAINT_VIOLATION", validator=_CODE)
    """Code of the refusal to delete a population with users."""
    unknown_environment_status: int = attrs.field(default=403, validator=_one_of(400, 401, 403, 404))
    assertion_error_status: int = attrs.field(default=401, validator=_one_of(400, 401))
    """Status of ``invalid_client`` if the assertion is invalid."""
    token_typ: str = attrs.field(default="at+jwt", validator=_one_of("at+jwt", "JWT"))
    """``typ`` of access tokens: always ``at+jwt`` from March 2027, ``JWT`` before."""
    maps_as_text: bool = False
    """Whether a token contains a map as JSON text instead of as an object."""
    duplicate_status: int = attrs.field(default=400, validator=_one_of(400, 409))
    """Status for a duplicate name: 400 (with detail ``UNIQUENESS_VIOLATION``) or 409."""
    existing_id: bool = True
    """Whether a uniqueness error contains ``innerError.existingId``."""
    credential_error_code: str = attrs.field(default="INVALID_DATA", validator=_CODE)
    authorize_errors: AuthorizeError = AuthorizeError.REDIRECT
    cookies_at_authorize: bool = True
    """Whether authorize sets ``ST``, or only the POST of the credentials does."""
    code_in_flow: bool = False
    """Whether the response that completes a redirectless flow contains the code."""
    resume_twice: bool = False
    """Whether a finished flow can be resumed again, for a new code."""
    audience_as_array: bool = True
    claims_in_introspection: bool = True
    """Whether introspection shows custom claims."""
    strict_accept: bool = True
    """Whether the flow API refuses ``Accept: application/json`` alone with 406."""


def setting_names() -> list[str]:
    """Names for :func:`with_settings`."""
    return list(attrs.fields_dict(SandboxSettings))


def with_settings(settings: SandboxSettings, texts: Iterable[str]) -> SandboxSettings:
    """``settings`` with those of ``NAME=VALUE`` texts.

    Raises:
        ValueError: A name is unknown or repeated, or a value is invalid.
    """
    found: JSONObject = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in setting_names():
            raise ValueError(f"setting {_shown(text)} is not NAME=VALUE with one of the names {', '.join(setting_names())}")
        if name in found:
            raise ValueError(f"setting {name} is given twice")
        found[name] = _parsed(name, value.strip())
    return attrs.evolve(settings, **found)


def _parsed(name: str, text: str) -> object:
    hint = get_type_hints(SandboxSettings)[name]
    kind = next((inner for inner in get_args(hint) if inner is not NoneType), hint)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name}: must be true or false, not {_shown(text)}")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError as error:
        allowed = {int: "a whole number", float: "a number"}.get(kind) or f"one of {', '.join(kind)}"
        raise ValueError(f"{name}: must be {allowed}, not {_shown(text)}") from error
