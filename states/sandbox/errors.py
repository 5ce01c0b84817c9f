"""The vendor's error bodies."""

from __future__ import annotations

import attrs

from states.sandbox.json_types import JSONObject

INVALID_DATA = "The request could not be completed. One or more validation errors were in the request."
INVALID_REQUEST = "The request could not be completed. The request was malformed or invalid."
ACCESS_FAILED = "The request could not be completed. You do not have access to this resource."
NOT_FOUND = "The request could not be completed. The requested resource was not found."


class ApiError(Exception):
    """An error of the management or flow API."""

    def __init__(
        self, status: int, code: str, message: str, details: list[JSONObject] | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.retry_after = retry_after

    def body(self, correlation_id: str) -> JSONObject:
        """The body of the response."""
        body: JSONObject = {"id": correlation_id, "code": self.code, "message": self.message}
        if self.details is not None:
            body["details"] = self.details
        return body


@attrs.define
class OAuthError(Exception):
    """An error of the OAuth endpoints (RFC 6749 section 5.2)."""

    status: int
    error: str
    description: str
    retry_after: float | None = None

    def body(self, correlation_id: str) -> JSONObject:
        """The body of the response."""
        return {"error": self.error, "error_description": f"{self.description} (Correlation ID: {correlation_id})"}


def invalid(detail: str, target: str, message: str, **inner: object) -> ApiError:
    """400 ``INVALID_DATA`` with one detail."""
    entry: JSONObject = {"code": detail, "target": target, "message": message}
    if inner:
        entry["innerError"] = inner
    return ApiError(400, "INVALID_DATA", INVALID_DATA, [entry])


def malformed(message: str, target: str = "body") -> ApiError:
    """400 ``INVALID_REQUEST``."""
    return ApiError(400, "INVALID_REQUEST", INVALID_REQUEST, [{"code": "INVALID_VALUE", "target": target, "message": message}])


def not_found(message: str = NOT_FOUND) -> ApiError:
    """404."""
    return ApiError(404, "NOT_FOUND", message)


def access_failed(status: int, detail: str) -> ApiError:
    """401 or 403."""
    return ApiError(status, "ACCESS_FAILED", ACCESS_FAILED, [{"code": detail, "message": ACCESS_FAILED}])


def no_session() -> ApiError:
    """401 for a request to a flow without its cookie."""
    detail = {
        "code": "INVALID_TOKEN",
        "target": "Authentication Credentials",
        "message": "The authorization token is either missing or invalid, or it has expired.",
    }
    return ApiError(401, "ACCESS_FAILED", ACCESS_FAILED, [detail])


def wrong_media_type(found: str) -> ApiError:
    """415."""
    return ApiError(415, "INVALID_REQUEST", f"Content type '{found}' is not supported for this request.")
