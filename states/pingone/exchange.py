"""A request and its answer as an entry of an HTTP archive, with everything masked that could be used.

Source: HAR 1.2, http://www.softwareishard.com/blog/har-12-spec/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs
import orjson

from orchestrator import Secret, redact

MASK = "********"
SECRET_HEADERS = frozenset(("authorization", "cookie", "set-cookie"))
SECRET_NAMES = frozenset(
    (
        "access_token",
        "client_assertion",
        "client_secret",
        "code",
        "code_verifier",
        "id_token",
        "k",
        "password",
        "previous",
        "refresh_token",
        "secret",
        "sessiontoken",
        "token",
        "value",
    )
)
"""Names of members and fields whose text is never shown."""
SHOWN_BYTES = 20_000
"""Of a body."""
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*")


@attrs.define(kw_only=True)
class HttpExchange:
    """One exchange as it was; see :class:`orchestrator.Exchange`. ``at`` is Unix time, ``took`` seconds."""

    at: float
    took: float
    method: str
    url: str
    sent: Mapping[str, str]
    sent_body: bytes | None
    status: int = 0
    received: Mapping[str, str] = attrs.field(factory=dict)
    received_body: bytes = b""
    error: str | None = None
    """Why there was no answer."""

    def entry(self, secrets: Iterable[Secret]) -> dict[str, Any]:
        """See the protocol."""
        known = list(secrets)
        request: dict[str, Any] = {
            "method": self.method,
            "url": _clean(_masked_url(self.url), known),
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _headers(self.sent, known),
            "queryString": [],
            "headersSize": -1,
            "bodySize": len(self.sent_body or b""),
        }
        if self.sent_body is not None:
            media_type = self.sent.get("Content-Type", "")
            request["postData"] = {"mimeType": media_type, "text": _clean(_masked_body(self.sent_body, media_type), known)}
        media_type = self.received.get("Content-Type", "")
        content = {"size": len(self.received_body), "mimeType": media_type}
        content["text"] = _clean(_masked_body(self.received_body, media_type), known)
        response: dict[str, Any] = {
            "status": self.status,
            "statusText": "",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _headers(self.received, known),
            "content": content,
            "redirectURL": _clean(_masked_url(self.received.get("Location", "")), known),
            "headersSize": -1,
            "bodySize": len(self.received_body),
        }
        if self.error is not None:
            response["_error"] = _clean(self.error, known)
        return {
            "startedDateTime": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds"),
            "time": self.took * 1000,
            "request": request,
            "response": response,
            "cache": {},
            "timings": {"send": 0, "wait": self.took * 1000, "receive": 0},
        }


def _headers(headers: Mapping[str, str], secrets: Iterable[Secret]) -> list[dict[str, str]]:
    shown = []
    for name, value in headers.items():
        lower = name.lower()
        text = MASK if lower in SECRET_HEADERS else _masked_url(value) if lower == "location" else value
        shown.append({"name": name, "value": _clean(text, secrets)})
    return shown


def _masked_url(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=_masked_form(parts.query), fragment=""))


def _masked_form(text: str) -> str:
    fields = [(name, MASK if name.lower() in SECRET_NAMES else value) for name, value in parse_qsl(text, keep_blank_values=True)]
    return urlencode(fields, safe="*:/")


def _masked_body(body: bytes, media_type: str) -> str:
    if not body:
        return ""
    if "form" in media_type:
        return _masked_form(body.decode(errors="replace"))
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:SHOWN_BYTES].decode(errors="replace")
    return orjson.dumps(_masked(data)).decode()[:SHOWN_BYTES]


def _masked(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: MASK if _hidden(name, value) else _masked(value) for name, value in data.items()}
    return [_masked(item) for item in data] if isinstance(data, list) else data


def _hidden(name: str, value: object) -> bool:
    """A text under a secret name. An error's ``code`` is in capitals and tells what went wrong."""
    return name.lower() in SECRET_NAMES and isinstance(value, str) and not (name == "code" and value.replace("_", "").isupper())


def _clean(text: str, secrets: Iterable[Secret]) -> str:
    return _JWT.sub(MASK, redact(text, secrets))
