"""The table that decides which response of PingOne is transient, ambiguous or permanent.

Rules of this file:

* Ping says that the status *within* a class may change: a row matches on ``code`` or on the code of a detail
  first, on the status last.
* Ambiguous: the server may have begun to handle the request. That is every 5xx, and every success or redirect with an
  unexpected status. Transient: the server refused the request before it handled it (429), or there was no connection.
* A 404, "already exists" and a refused constraint can be expected: callers that expect them catch them.

Sources: "Error codes", "Retries: Best practice for managing transient API errors"; RFC 6749 section 5.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TypeGuard

import orjson

from orchestrator import AmbiguousError, PermanentError, StepError, ThrottledError, TransientError
from states.http.json_types import JSONObject
from states.http.reply import Reply, seconds_until


class RefusedError(PermanentError):
    """A 4xx: the server has read the request and refuses it."""


class InvalidError(RefusedError):
    """The request is wrong: a value, or a reference to an object that does not exist, or does not exist yet."""


class MissingError(RefusedError):
    """404: the object does not exist, or does not exist yet."""


class AlreadyExistsError(RefusedError):
    """The name is taken. ``existing_id`` is the object that has it, if the response says so."""

    def __init__(self, message: str, *, code: str | None = None, existing_id: str | None = None) -> None:
        super().__init__(message, code=code)
        self.existing_id = existing_id


class ConstraintError(RefusedError):
    """Refused because of a dependent object, e.g. users in a population."""


class AccessError(RefusedError):
    """403: the worker has no permission, or a new permission has not reached every part of PingOne."""


class UnauthorizedError(RefusedError):
    """401: the token, or the client authentication, was not accepted."""


class RefusedGrantError(RefusedError):
    """``invalid_grant``: the code was used before, has expired, or was issued to another client."""


_CODE = 80
"""Characters of a code, or of an id, that are quoted."""
_DETAILS = 5
"""Details of an error that are quoted."""
_ID = re.compile(r"[\w.:~-]{1,200}", re.ASCII)

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
    """The error for a response with an unexpected status.

    Args:
        what: The operation, e.g. ``create application``.
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
        return cls(message, code=code, retry_after=_retry_after(reply, details))
    if cls is AlreadyExistsError:
        existing_id = _inner(details, "existingId")
        return AlreadyExistsError(message, code=code, existing_id=existing_id if is_id(existing_id) else None)
    return cls(message, code=code)


def is_id(value: object) -> TypeGuard[str]:
    """Whether this can be the id of an object or a flow. Ids become parts of URLs and are shown."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _sentence(what: str, reply: Reply, body: Mapping[str, object], details: list[JSONObject]) -> str:
    quote = reply.asked.quote
    said = body.get("error_description") or body.get("message")
    code = body.get("code") or body.get("error")
    parts = [f"{what}: {reply.status}{f' {quote(code, _CODE)}' if code else ''}"]
    if details:
        parts.append("; ".join(quote(_detail(detail)) for detail in details[:_DETAILS]))
    elif said:
        parts.append(quote(said))
    text = ": ".join(parts)
    correlation_id = quote(reply.headers.get("Correlation-Id") or body.get("id") or "", _CODE)
    if correlation_id and correlation_id not in text:
        text += f" (Correlation-Id {correlation_id})"
    return text


def _detail(detail: Mapping[str, object]) -> str:
    target = f" {detail['target']}" if detail.get("target") else ""
    inner = detail.get("innerError")
    broken = inner.get("unsatisfiedRequirements") if isinstance(inner, dict) else None
    more = f" ({', '.join(map(str, broken))})" if broken else ""
    return f"{detail.get('code', '?')}{target}: {detail.get('message', '')}{more}"


def _inner(details: list[JSONObject], name: str) -> str | None:
    for detail in details:
        inner = detail.get("innerError")
        if isinstance(inner, dict) and inner.get(name):
            return str(inner[name])
    return None


def _retry_after(reply: Reply, details: list[JSONObject]) -> float | None:
    """Seconds: from the header, else from the details (a date-time)."""
    if reply.retry_after is not None:
        return reply.retry_after
    moment = _inner(details, "retryAfter")
    try:
        return seconds_until(datetime.fromisoformat(moment)) if moment else None
    except (ValueError, OverflowError):
        return None
