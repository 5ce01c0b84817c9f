"""Settings of the sandbox. What the vendor leaves open is a setting, with the likeliest reading as its default."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from types import NoneType
from typing import Any, get_args, get_type_hints

import attrs

SINGLE_FACTOR = "Single_Factor"
MULTI_FACTOR = "Multi_Factor"
"""Names of the sign-on policies that every environment has."""

LONGEST_S = 1_000_000_000
"""About 31 years: a time that far ahead can still be written as a date."""

_Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


class AuthorizeError(StrEnum):
    """How authorize tells an error once client and redirect URI are known to be good."""

    REDIRECT = "redirect"
    """302 to the redirect URI with ``error`` and ``error_description`` (RFC 6749 section 4.1.2.1)."""
    SIGN_ON_PAGE = "sign-on page"
    """302 to the sign-on page with ``error=<JSON>``."""
    BODY = "body"
    """400 with an error body."""


def _between(least: int, most: int | None = None, unit: str = "") -> _Validator:
    """Whole numbers and fractions in a range; ``most`` ``None``: any from ``least``."""
    allowed = f"{least} or more{unit}" if most is None else f"between {least} and {most}{unit}"

    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and not (value >= least and (most is None or value <= most)):
            raise ValueError(f"{attribute.name}: must be {allowed}, not {_shown(value)}")

    return check


def _one_of(*values: Any) -> _Validator:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in values:
            allowed = ", ".join(str(one) for one in values)
            raise ValueError(f"{attribute.name}: must be one of {allowed}, not {_shown(value)}")

    return check


def _matching(pattern: str, described: str) -> _Validator:
    def check(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and not re.fullmatch(pattern, value):
            raise ValueError(f"{attribute.name}: must be {described}, not {_shown(value)}")

    return check


def _shown(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, int) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


_ID = _matching(r"[A-Za-z0-9._~-]{1,128}", "1 to 128 letters, digits or ._~-")
_CODE = _matching(r"[A-Z][A-Z0-9_]{0,63}", "an error code like INVALID_DATA")


def _seconds(default: float) -> Any:
    return attrs.field(default=default, validator=_between(0, LONGEST_S, " seconds"))


@attrs.frozen(kw_only=True)
class SandboxSettings:
    """Times are in seconds. Raises ``ValueError`` for what cannot be."""

    seed: int | None = None
    """Makes ids and faults repeatable; ``None``: random ones."""
    worker_id: str | None = attrs.field(default=None, validator=_ID)
    worker_secret: str | None = attrs.field(
        default=None, validator=_matching(r"[!-~]{1,256}", "1 to 256 printable ASCII characters")
    )
    environment_id: str | None = attrs.field(default=None, validator=_ID)
    """``None``: made up (from the seed, if there is one)."""

    worker_token_lifetime_s: float = _seconds(3600)
    code_lifetime_s: float = _seconds(600)
    flow_lifetime_s: float = _seconds(900)
    """Of inactivity; a sign-on that was finished is remembered as long."""

    worker_auth_method: str = attrs.field(
        default="CLIENT_SECRET_BASIC", validator=_one_of("CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST")
    )
    """How the worker has to authenticate."""
    default_policy: str = attrs.field(default=SINGLE_FACTOR, validator=_one_of(SINGLE_FACTOR, MULTI_FACTOR))
    """The sign-on policy of applications that have none assigned; ``Multi_Factor`` asks for a one-time password."""
    custom_domain: bool = False
    """Whether sign-on and tokens are also served as on a custom domain, whose paths do not name the environment."""
    flows_need_worker: bool = False
    """Whether ``/flows/{id}`` answers 401 unless the worker's token comes with the cookies; the vendor's guides disagree."""

    secret_delay_s: float = _seconds(0)
    """How long after its application a secret answers 404."""
    grant_delay_s: float = _seconds(0)
    """How long after its creation an application answers 404 to grants, and a grant does not count yet."""
    roles_delay_s: float = _seconds(0)
    """How long after the start of the sandbox the worker's roles have not arrived: management calls that write answer 403."""
    reference_delay_s: float = _seconds(0)
    """How long a new scope is unknown to grants, and a new population to users."""
    sign_on_delay_s: float = _seconds(0)
    """How long a new application, user or password is unknown to the sign-on."""
    client_delay_s: float = _seconds(0)
    """How long a new application is ``invalid_client`` to the token endpoint and to introspection."""
    mapping_delay_s: float = _seconds(0)
    """How long a new attribute mapping is missing from tokens."""
    introspection_delay_s: float = _seconds(0)
    """How long a new token is not active to introspection."""
    list_delay_s: float = _seconds(0)
    """How long a new object is missing from lists."""
    deleted_listed_s: float = _seconds(0)
    """How long a deleted application stays in lists."""
    user_count_delay_s: float = _seconds(0)
    """How long a deleted user still counts in its population."""

    configuration_per_minute: int = attrs.field(default=0, validator=_between(0))
    """Configuration calls that are let through in any minute; the vendor lets one address make 210. 0: no limit."""
    requests_per_connection: int = attrs.field(default=0, validator=_between(0))
    """After so many a kept connection is closed without notice: the next request on it is not handled. 0: never."""
    page_size: int = attrs.field(default=100, validator=_between(1, 1000))
    max_applications: int = attrs.field(default=1000, validator=_between(0))
    unique_application_names: bool = False
    names_ignore_case: bool = True
    """Whether uniqueness does."""
    population_delete_status: int = attrs.field(default=400, validator=_between(400, 499))
    population_delete_code: str = attrs.field(default="CONSTRAINT_VIOLATION", validator=_CODE)
    """How the delete of a population with users is refused."""
    unknown_environment_status: int = attrs.field(default=403, validator=_one_of(400, 401, 403, 404))
    assertion_error_status: int = attrs.field(default=401, validator=_one_of(400, 401))
    """How ``invalid_client`` is answered when the assertion is at fault."""
    token_typ: str = attrs.field(default="at+jwt", validator=_one_of("at+jwt", "JWT"))
    """``typ`` of access tokens; always ``at+jwt`` from March 2027, ``JWT`` before."""
    maps_as_text: bool = False
    """Whether a map-valued expression becomes JSON text in the token, and not an object."""
    duplicate_status: int = attrs.field(default=400, validator=_one_of(400, 409))
    """400 (with detail ``UNIQUENESS_VIOLATION``) or 409."""
    existing_id: bool = True
    """Whether a uniqueness error carries ``innerError.existingId``."""
    credential_error_code: str = attrs.field(default="INVALID_DATA", validator=_CODE)
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


def setting_names() -> list[str]:
    """What :func:`parse_settings` takes."""
    return list(attrs.fields_dict(SandboxSettings))


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Each ``NAME=VALUE`` as a field of :class:`SandboxSettings` and its value.

    Raises:
        ValueError: There is no such field, it is given twice, or the value does not fit it.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in setting_names():
            raise ValueError(f"setting {_shown(text)} is not NAME=VALUE with a name of {', '.join(setting_names())}")
        if name in found:
            raise ValueError(f"setting {name} is given twice")
        found[name] = _parsed(name, value.strip())
    return found


def _parsed(name: str, text: str) -> Any:
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
