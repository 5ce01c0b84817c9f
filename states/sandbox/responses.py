"""HTTP responses for answers and errors of handlers."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import orjson
from aiohttp import web

from states.sandbox.calls import Answer, Call
from states.sandbox.environment import Environment
from states.sandbox.errors import ACCESS_FAILED, INVALID_DATA, ApiError, OAuthError, access_failed, malformed, not_found
from states.sandbox.faults import Fault

_STANDARD_HEADERS = {
    "Cache-Control": "no-cache, no-store",
    "Expires": "0",
    "Pragma": "no-cache",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Vary": "Origin",
}
COOKIE_LIFETIME_S = 2592000


def _retry_after(status: int, seconds: float) -> str:
    """Seconds for 429, an HTTP date for 503. Source: "Retries: Best practice for managing transient API errors"."""
    if status != 503:
        return f"{seconds:g}"
    # A date has whole seconds. Round up, so that clients do not retry too early.
    return formatdate(math.ceil(time.time() + seconds), usegmt=True)


def refusal(error: ApiError | OAuthError, call: Call) -> Answer:
    headers: dict[str, str] = {}
    if error.status == 401:
        # Required by RFC 6749 section 5.2 (for a client) and RFC 6750 section 3 (for a token).
        of_client = isinstance(error, OAuthError) and error.error == "invalid_client"
        headers["WWW-Authenticate"] = f'{"Basic" if of_client else "Bearer"} realm="sandbox"'
    if isinstance(error, OAuthError) and error.error in {"invalid_token", "insufficient_scope"}:
        headers["WWW-Authenticate"] = f'Bearer realm="sandbox", error="{error.error}"'
    if error.retry_after is not None:
        headers["Retry-After"] = _retry_after(error.status, error.retry_after)
    return Answer(status=error.status, body=error.body(call.correlation_id), headers=headers)


_CODES = {415: "INVALID_REQUEST", 429: "REQUEST_LIMITED", 500: "UNEXPECTED_ERROR"}
_DETAILS = {
    401: ("INVALID_TOKEN", ACCESS_FAILED),
    403: ("INSUFFICIENT_PERMISSIONS", ACCESS_FAILED),
    409: ("UNIQUENESS_VIOLATION", "taken"),
    429: ("LIMIT_EXCEEDED", "Too many requests"),
}


def status_error(fault: Fault) -> ApiError:
    """An error with the vendor's wording for this status, and with the code of the rule in its details."""
    status = fault.status
    usual, said = _DETAILS.get(status, (None, "There was an issue processing the request."))
    detail = fault.code or usual
    if status in (401, 403):
        return access_failed(status, str(detail))
    if status == 404 and detail is None:
        return not_found()
    retry_after = fault.value if fault.value is not None or status != 429 else 1.0
    code, message = _CODES.get(status), "The request could not be completed. There was an issue processing the request."
    if status in (400, 409) and detail is not None:
        code, message = "INVALID_DATA", INVALID_DATA
    code = code or ("NOT_FOUND" if status == 404 else "SERVICE_UNAVAILABLE" if status > 500 else "REQUEST_FAILED")
    return ApiError(status, code, message, [{"code": detail, "message": said}] if detail else None, retry_after)


def response(answer: Answer, call: Call, environment: Environment) -> web.Response:
    headers = _STANDARD_HEADERS | {"Correlation-Id": call.correlation_id} | dict(answer.headers)
    if answer.location is not None:
        headers["Location"] = answer.location
    if answer.status == 201 and isinstance(answer.body, dict):
        headers["Location"] = answer.body["_links"]["self"]["href"]
    body, content_type = b"", "application/json"
    if isinstance(answer.body, str):
        body, content_type = answer.body.encode(), "text/html"
    elif answer.body is not None:
        body = orjson.dumps(answer.body)
    sent = web.Response(status=answer.status, body=body or None, headers=headers, content_type=content_type if body else None)
    if answer.cookie is not None:
        # Secure only with TLS, because a cookie jar does not send secure cookies over plain HTTP. SameSite=None requires Secure.
        is_secure = call.base.startswith("https:")
        sent.set_cookie(
            "ST",
            answer.cookie,
            path=f"/{environment.id}" if "environment" in call.ids else "/",
            max_age=COOKIE_LIFETIME_S,
            expires=formatdate(time.time() + COOKIE_LIFETIME_S, usegmt=True),
            httponly=True,
            secure=is_secure,
            samesite="None" if is_secure else "Lax",
        )
    return sent


@web.middleware
async def unrouted(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    """Responses to unknown paths and methods in the vendor's form."""
    headers = _STANDARD_HEADERS | {"Correlation-Id": str(uuid.uuid4())}
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except web.HTTPMethodNotAllowed as refused:
        headers["Allow"] = ", ".join(sorted(refused.allowed_methods))
        error = ApiError(405, "METHOD_NOT_ALLOWED", f"The method {request.method} is not allowed here.")
    except web.HTTPNotFound:
        error = not_found()
    except web.HTTPRequestEntityTooLarge:
        error = ApiError(413, "INVALID_REQUEST", "The request could not be completed. The body is too large.")
    except web.RequestPayloadError:
        error = malformed("The body cannot be read in its content encoding")
    body = orjson.dumps(error.body(headers["Correlation-Id"]))
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)
