"""The table: which answer of PingOne is transient, ambiguous, or permanent. The one place that decides it.

Rules of this file:

* Ping says that the status *within* a class may change: a row matches on ``code`` or on the code of a detail
  first, on the status last.
* Whatever the server may have begun to handle is ambiguous, every 5xx included, and an answer that is no error but not the one
  hoped for either; refused before handling (429, no connection) is transient.
* A 404, "already exists" and a refused constraint are facts, not failures: callers that expect them catch them.

Sources: "Error codes", "Retries: Best practice for managing transient API errors"; RFC 6749 section 5.2.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeGuard

import attrs
import orjson

from orchestrator import AmbiguousError, PermanentError, Secret, StepError, ThrottledError, TransientError
from states.pingone.request import Request

if TYPE_CHECKING:
    from multidict import MultiMapping


class NoConnectionError(PermanentError):
    """Nothing was sent, and trying again does not help: an address, a certificate, a proxy has to be set right."""


class RefusedError(PermanentError):
    """A 4xx: the other side has read the request and refuses it."""


class InvalidError(RefusedError):
    """Something in the request is wrong: a value, or a reference to what does not exist, or not yet."""


class MissingError(RefusedError):
    """404: it is not there, or not yet."""


class AlreadyExistsError(RefusedError):
    """The name is taken; ``existing_id`` if the answer told whose it is."""

    def __init__(self, message: str, *, code: str | None = None, existing_id: str | None = None) -> None:
        super().__init__(message, code=code)
        self.existing_id = existing_id


class ConstraintError(RefusedError):
    """Refused because of something else that exists, e.g. users in a population."""


class AccessError(RefusedError):
    """403: the worker may not do this, or its permission has not arrived everywhere."""


class UnauthorizedError(RefusedError):
    """401: the token, or the client authentication, was not accepted."""


class RefusedGrantError(RefusedError):
    """``invalid_grant``: the code was used before, has expired, or is not ours."""


_CODE = 80
"""Characters of a code, or of an id, that are quoted."""
_DETAILS = 5
"""Details of an error that are quoted."""
_ID = re.compile(r"[\w.:~-]{1,200}", re.ASCII)
_UNKNOWN = Request("", "")


@attrs.define(slots=False)
class Reply:
    """An answer, read to its end. It is shown without its headers and its body."""

    status: int
    headers: MultiMapping[str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    asked: Request = attrs.field(default=_UNKNOWN, eq=False)
    """The request that it answers: text of it is quoted by :meth:`~states.pingone.request.Request.quote` only."""

    @property
    def cookies(self) -> dict[str, Secret]:
        """Those that it sets, without their attributes: they are sent to the host that set them, for one sign-on."""
        cookies = {}
        for line in self.headers.getall("Set-Cookie", ()):
            name, _, value = line.partition(";")[0].partition("=")
            if value.strip():  # one without a value is being deleted
                cookies[name.strip()] = Secret(value.strip())
        return cookies

    @property
    def correlation_id(self) -> str | None:
        """What Ping's support asks for."""
        return self.headers.get("Correlation-Id")

    def json(self) -> dict[str, Any]:
        """The body.

        Raises:
            AmbiguousError: It is not a JSON object (a proxy's page, a cut-off answer): whatever was asked for may be done.
        """
        try:
            data = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            data = None
        if not isinstance(data, dict):
            raise AmbiguousError(f"the answer ({self.status}) is not JSON", code="not_json")
        return data


_BY_CODE: Mapping[str, type[StepError]] = {
    "UNIQUENESS_VIOLATION": AlreadyExistsError,
    "CONSTRAINT_VIOLATION": ConstraintError,
    "REQUEST_LIMITED": ThrottledError,
    "LIMIT_EXCEEDED": ThrottledError,
    "QUOTA_EXCEEDED": TransientError,
    "UNEXPECTED_ERROR": AmbiguousError,
    "NOT_FOUND": MissingError,
    "INVALID_TOKEN": UnauthorizedError,
    "INSUFFICIENT_PERMISSIONS": AccessError,
    "LICENSE_EXCEEDED": PermanentError,
    "invalid_client": UnauthorizedError,
    "invalid_grant": RefusedGrantError,
    "temporarily_unavailable": AmbiguousError,
    "server_error": AmbiguousError,
}
_BY_STATUS: Mapping[int, type[StepError]] = {
    401: UnauthorizedError,
    403: AccessError,
    404: MissingError,
    408: AmbiguousError,
    409: AlreadyExistsError,
    429: ThrottledError,
    500: AmbiguousError,
    502: AmbiguousError,
    503: AmbiguousError,
    504: AmbiguousError,
}


def refusal(what: str, reply: Reply) -> StepError:
    """The error behind an answer that is not the one hoped for.

    Args:
        what: What was asked for, e.g. ``create application``.
    """
    try:
        body = orjson.loads(reply.body) if reply.body else {}
    except orjson.JSONDecodeError:
        body = {}
    body = body if isinstance(body, dict) else {}
    listed = body.get("details")
    details = [detail for detail in listed if isinstance(detail, dict)] if isinstance(listed, list) else []
    codes = [str(code) for code in (*(d.get("code") for d in details), body.get("code"), body.get("error")) if code]
    cls = next((_BY_CODE[code] for code in codes if code in _BY_CODE), None) or _BY_STATUS.get(reply.status)
    if cls is None:
        cls = InvalidError if 400 <= reply.status < 500 else PermanentError if reply.status == 501 else AmbiguousError
    message = _sentence(what, reply, body, details)
    code = reply.asked.quote(codes[0], _CODE) if codes else str(reply.status)
    if issubclass(cls, TransientError):
        return cls(message, code=code, retry_after=_retry_after(reply.headers, details))
    if cls is AlreadyExistsError:
        existing_id = _inner(details, "existingId")
        return AlreadyExistsError(message, code=code, existing_id=existing_id if is_id(existing_id) else None)
    return cls(message, code=code)


def is_id(value: object) -> TypeGuard[str]:
    """Whether this can be the id of an object or a flow: ids become parts of addresses, and are shown."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _sentence(what: str, reply: Reply, body: Mapping[str, Any], details: list[dict[str, Any]]) -> str:
    quote = reply.asked.quote
    said = body.get("error_description") or body.get("message")
    code = body.get("code") or body.get("error")
    parts = [f"{what}: {reply.status}{f' {quote(code, _CODE)}' if code else ''}"]
    if details:
        parts.append("; ".join(quote(_detail(detail)) for detail in details[:_DETAILS]))
    elif said:
        parts.append(quote(said))
    text = ": ".join(parts)
    correlation_id = quote(reply.correlation_id or body.get("id") or "", _CODE)
    if correlation_id and correlation_id not in text:
        text += f" (Correlation-Id {correlation_id})"
    return text


def _detail(detail: Mapping[str, Any]) -> str:
    target = f" {detail['target']}" if detail.get("target") else ""
    inner = detail.get("innerError")
    broken = inner.get("unsatisfiedRequirements") if isinstance(inner, dict) else None
    more = f" ({', '.join(map(str, broken))})" if broken else ""
    return f"{detail.get('code', '?')}{target}: {detail.get('message', '')}{more}"


def _inner(details: list[dict[str, Any]], name: str) -> str | None:
    for detail in details:
        inner = detail.get("innerError")
        if isinstance(inner, dict) and inner.get(name):
            return str(inner[name])
    return None


def _retry_after(headers: Mapping[str, str], details: list[dict[str, Any]]) -> float | None:
    """Seconds: from the header (a number, or an HTTP date), else from the details (a date-time)."""
    header = headers.get("Retry-After")
    if header is not None:
        try:
            seconds = float(header)
            return max(0.0, seconds) if math.isfinite(seconds) else None
        except ValueError:
            pass
        try:
            return _until(parsedate_to_datetime(header))
        except (ValueError, TypeError, OverflowError):
            return None
    moment = _inner(details, "retryAfter")
    try:
        return _until(datetime.fromisoformat(moment)) if moment else None
    except (ValueError, OverflowError):
        return None


def _until(moment: datetime) -> float:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
