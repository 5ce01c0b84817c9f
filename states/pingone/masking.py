"""What is secret in requests and answers by its place: names of headers, of fields and of members.

Secrets that are known by their value are masked by :class:`orchestrator.Redactor`; this module is for all others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson

from states.pingone.bodies import FORM

MASK = "********"
SECRET_HEADERS = frozenset(("authorization", "cookie", "proxy-authorization", "set-cookie"))
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
        "newpassword",
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

_EXPRESSION = re.compile(r"\$\{[^{}]*\}")
"""What maps an attribute; it names where a value comes from and holds none."""
_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
_PARAMETER = re.compile(
    r"(?i)\b(access_token|client_assertion|client_secret|code|code_verifier|id_token|refresh_token|token)=[^&\"'<>\s*]+"
)


def is_secret(name: str, value: object) -> bool:
    """Whether the value that stands under this name is not shown."""
    plain = name.lower().replace("_", "").replace("-", "")
    return plain in SECRET_NAMES and not (plain == "value" and isinstance(value, str) and _EXPRESSION.fullmatch(value))


def mask_patterns(text: str) -> str:
    """``text`` without tokens and parameters that are known by their looks."""
    return _PARAMETER.sub(rf"\1={MASK}", _JWT.sub(MASK, text))


def mask_url(url: str) -> str:
    """An address without secret parameters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a valid address)"
    return urlunsplit(parts._replace(query=_mask_form(parts.query), fragment=""))


def mask_body(body: bytes, media_type: str, *, refused: bool) -> str:
    """A form, or JSON; nothing is shown of any other body, because nothing tells which part of it is secret.

    Args:
        refused: It is the body of an error, whose ``code`` says what went wrong.
    """
    if not body:
        return ""
    if _is_form(media_type):
        return _mask_form(body.decode(errors="replace"))
    try:
        return orjson.dumps(_mask_json(orjson.loads(body), refused=refused)).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return f"({len(body)} bytes that are no JSON)"


def secrets_of_url(url: str) -> Iterator[str]:
    """Secret parameters."""
    try:
        query = urlsplit(url).query
    except ValueError:
        return
    yield from _secrets_of_form(query)


def secrets_of_body(body: bytes, media_type: str) -> Iterator[str]:
    """Secret fields of a form, secret members of JSON."""
    if _is_form(media_type):
        yield from _secrets_of_form(body.decode(errors="replace"))
        return
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return
    yield from _secrets_of_json(data)


def _is_form(media_type: str) -> bool:
    return media_type.partition(";")[0].strip().lower() == FORM


def _mask_form(text: str) -> str:
    fields = [(name, MASK if is_secret(name, value) else value) for name, value in parse_qsl(text, keep_blank_values=True)]
    return urlencode(fields, safe="*:/")


def _mask_json(data: Any, *, refused: bool) -> Any:
    if isinstance(data, dict):
        return {
            name: MASK
            if is_secret(name, value) and not _is_error_code(name, value, refused)
            else _mask_json(value, refused=refused)
            for name, value in data.items()
        }
    return [_mask_json(item, refused=refused) for item in data] if isinstance(data, list) else data


def _is_error_code(name: str, value: object, refused: bool) -> bool:
    return refused and name == "code" and isinstance(value, str) and value.replace("_", "").isupper()


def _secrets_of_form(text: str) -> Iterator[str]:
    return (value for name, value in parse_qsl(text) if is_secret(name, value))


def _secrets_of_json(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for name, value in data.items():
            if isinstance(value, str):
                if is_secret(name, value):
                    yield value
            else:
                yield from _secrets_of_json(value)
    elif isinstance(data, list):
        for item in data:
            yield from _secrets_of_json(item)
