"""A request and its response as an entry of an HTTP archive (HAR), with all secrets masked.

Source: HAR 1.2, http://www.softwareishard.com/blog/har-12-spec/
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import attrs

from orchestrator import Redactor, Secret, visible
from states.http.json_types import JSONObject
from states.http.masking import MASK, SECRET_HEADERS, Masking, mask_patterns
from states.http.reply import Reply
from states.http.request import Request

SHOWN = 20_000
"""Characters of a text that are kept."""


@attrs.define
class HttpExchange:
    """One exchange; implements :class:`orchestrator.Exchange`."""

    began: float
    """Unix time."""
    request: Request
    reply: Reply | None = None
    ended: float | None = None
    """Unix time."""
    error: str | None = None
    """Why there was no response."""

    def secrets(self) -> frozenset[Secret]:
        """See the protocol."""
        return self.request.secrets

    def entry(self, secrets: Redactor) -> JSONObject:
        """See the protocol."""
        request, reply, masking = self.request, self.reply, self.request.masking
        took = (self.ended - self.began) * 1000 if self.ended is not None else 0.0
        status, received, body = (reply.status, reply.headers, reply.body) if reply else (0, {}, b"")
        sent: JSONObject = {
            "method": request.method,
            "url": _clean(masking.mask_url(request.url), secrets),
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _headers(request.headers, masking, secrets),
            "queryString": [],
            "headersSize": -1,
            "bodySize": len(request.body or b""),
        }
        if request.body is not None:
            media_type = request.headers.get("Content-Type", "")
            text = masking.mask_body(request.body, media_type, refused=False)
            sent["postData"] = {"mimeType": media_type, "text": _clean(text, secrets)}
        media_type = received.get("Content-Type", "")
        text = masking.mask_body(body, media_type, refused=status >= 400)
        answer: JSONObject = {
            "status": status,
            "statusText": "",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _headers(received, masking, secrets),
            "content": {"size": len(body), "mimeType": _clean(media_type, secrets), "text": _clean(text, secrets)},
            "redirectURL": _clean(masking.mask_url(received.get("Location", "")), secrets),
            "headersSize": -1,
            "bodySize": len(body),
        }
        if self.error is not None:
            answer["_error"] = _clean(self.error, secrets)
        return {
            "startedDateTime": datetime.fromtimestamp(self.began, UTC).isoformat(timespec="milliseconds"),
            "time": took,
            "request": sent,
            "response": answer,
            "cache": {},
            "timings": {"send": 0, "wait": took, "receive": 0},
        }


def _headers(headers: Mapping[str, str], masking: Masking, secrets: Redactor) -> list[dict[str, str]]:
    shown = []
    for name, value in headers.items():
        lower = name.lower()
        text = MASK if lower in SECRET_HEADERS else masking.mask_url(value) if lower == "location" else value
        shown.append({"name": _clean(name, secrets), "value": _clean(text, secrets)})
    return shown


def _clean(text: str, secrets: Redactor) -> str:
    text = text[: 2 * SHOWN].encode("utf-8", "replace").decode()
    return visible(mask_patterns(secrets.redact(text)))[:SHOWN]
