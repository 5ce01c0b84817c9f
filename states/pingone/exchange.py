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
from states.pingone.answers import Reply

MASK = "********"
SECRET_HEADERS = frozenset(("authorization", "cookie", "set-cookie"))
SECRET_NAMES = frozenset(
    (
        "accesstoken",
        "clientassertion",
        "clientsecret",
        "code",
        "codeverifier",
        "d",
        "idtoken",
        "k",
        "password",
        "previous",
        "privatekey",
        "refreshtoken",
        "secret",
        "sessiontoken",
        "token",
        "value",
    )
)
"""Names of members and fields of which nothing is shown, in lower case and without punctuation."""
SHOWN = 20_000
"""Characters of a text that are shown."""
FORM = "application/x-www-form-urlencoded"
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
_PARAMETER = re.compile(
    r"(?i)\b(access_token|client_assertion|client_secret|code|code_verifier|id_token|refresh_token|token)=[^&\"'<>\s*]+"
)


@attrs.define
class HttpExchange:
    """One exchange as it was; see :class:`orchestrator.Exchange`."""

    began: float
    """Unix time, as ``ended``."""
    method: str
    url: str
    sent: Mapping[str, str]
    sent_body: bytes | None
    reply: Reply | None = None
    ended: float | None = None
    error: str | None = None
    """Why there was no answer."""

    def entry(self, secrets: Iterable[Secret]) -> dict[str, Any]:
        """See the protocol."""
        known = list(secrets)
        took = (self.ended - self.began) * 1000 if self.ended is not None else 0.0
        status, received, body = (self.reply.status, self.reply.headers, self.reply.body) if self.reply else (0, {}, b"")
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
            request["postData"] = {
                "mimeType": media_type,
                "text": _clean(_masked_body(self.sent_body, media_type, refused=False), known),
            }
        media_type = received.get("Content-Type", "")
        content = {"size": len(body), "mimeType": media_type}
        content["text"] = _clean(_masked_body(body, media_type, refused=status >= 400), known)
        response: dict[str, Any] = {
            "status": status,
            "statusText": "",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _headers(received, known),
            "content": content,
            "redirectURL": _clean(_masked_url(received.get("Location", "")), known),
            "headersSize": -1,
            "bodySize": len(body),
        }
        if self.error is not None:
            response["_error"] = _clean(self.error, known)
        return {
            "startedDateTime": datetime.fromtimestamp(self.began, UTC).isoformat(timespec="milliseconds"),
            "time": took,
            "request": request,
            "response": response,
            "cache": {},
            "timings": {"send": 0, "wait": took, "receive": 0},
        }


def _headers(headers: Mapping[str, str], secrets: Iterable[Secret]) -> list[dict[str, str]]:
    shown = []
    for name, value in headers.items():
        lower = name.lower()
        text = MASK if lower in SECRET_HEADERS else _masked_url(value) if lower == "location" else value
        shown.append({"name": name, "value": _clean(text, secrets)})
    return shown


def _is_secret(name: str) -> bool:
    return name.lower().replace("_", "").replace("-", "") in SECRET_NAMES


def _masked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(an address that is none)"
    return urlunsplit(parts._replace(query=_masked_form(parts.query), fragment=""))


def _masked_form(text: str) -> str:
    fields = [(name, MASK if _is_secret(name) else value) for name, value in parse_qsl(text, keep_blank_values=True)]
    return urlencode(fields, safe="*:/")


def _masked_body(body: bytes, media_type: str, *, refused: bool) -> str:
    """A form, or JSON; of anything else nothing is shown, for there is no telling what in it is secret."""
    if not body:
        return ""
    if media_type.partition(";")[0].strip().lower() == FORM:
        return _masked_form(body.decode(errors="replace"))
    try:
        return orjson.dumps(_masked(orjson.loads(body), refused=refused)).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return f"({len(body)} bytes that are no JSON)"


def _masked(data: Any, *, refused: bool) -> Any:
    if isinstance(data, dict):
        return {
            name: MASK if _is_secret(name) and not _is_error_code(name, value, refused) else _masked(value, refused=refused)
            for name, value in data.items()
        }
    return [_masked(item, refused=refused) for item in data] if isinstance(data, list) else data


def _is_error_code(name: str, value: object, refused: bool) -> bool:
    """The ``code`` of an error body tells what went wrong."""
    return refused and name == "code" and isinstance(value, str) and value.replace("_", "").isupper()


def _clean(text: str, secrets: Iterable[Secret]) -> str:
    text = text.encode("utf-8", "replace").decode()
    return _PARAMETER.sub(rf"\1={MASK}", _JWT.sub(MASK, redact(text, secrets)))[:SHOWN]
