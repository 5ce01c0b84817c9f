"""The request and the response of a handler: parsed and typed HTTP, independent of the server."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, unquote_plus

import attrs
import orjson

from states.sandbox.errors import malformed, wrong_media_type
from states.sandbox.json_types import JSONObject


@attrs.frozen(kw_only=True)
class Call:
    """One request. ``ids`` are the variable parts of the path. Names of headers are in lower case."""

    method: str
    base: str
    """Scheme and host that the client used, e.g. ``http://127.0.0.1:8080``."""
    ids: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] = attrs.field(factory=dict)
    """The fields of a form body, without the empty ones, which count as absent (RFC 6749 section 3.2)."""
    repeated: frozenset[str] = frozenset()
    """Names of parameters that were sent more than once, in the query, the form, or both."""
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    body: bytes
    correlation_id: str

    @property
    def media_type(self) -> str:
        """Media type of the body."""
        return media_type_of(self.headers.get("content-type", ""))

    def json(self, *media_types: str) -> JSONObject:
        """The body, which must be a JSON object of one of these types (``application/json`` if none is named).

        Raises:
            ApiError: 415 or 400.
        """
        wanted = [media_type.lower() for media_type in media_types or ("application/json",)]
        if self.media_type not in wanted:
            raise wrong_media_type(self.media_type)
        try:
            data = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise malformed(f"The body is not valid JSON: {error}") from error
        if not isinstance(data, dict):
            raise malformed("The body is not a JSON object")
        return data

    def basic(self) -> tuple[str, str] | None:
        """Id and secret of HTTP Basic authentication (RFC 6749 section 2.3.1), if it is used."""
        scheme, _, text = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        except ValueError:  # not base64, or not UTF-8 inside
            return ("", "")
        return unquote_plus(user), unquote_plus(password)

    def bearer(self) -> str | None:
        """The bearer token, if there is one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None


def media_type_of(header: str) -> str:
    """The media type of a ``Content-Type``, without its parameters."""
    return header.partition(";")[0].strip().lower()


def parse_form(media_type: str, body: bytes) -> list[tuple[str, str]]:
    """The fields of a form in their order; empty if the body is not a form."""
    if media_type != "application/x-www-form-urlencoded":
        return []
    return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)


def repeated_names(names: Iterable[str]) -> frozenset[str]:
    """Names that occur more than once."""
    counts = Counter(names)
    return frozenset(name for name, times in counts.items() if times > 1)


@attrs.frozen(kw_only=True)
class Answer:
    """A response. ``cookie`` is the session token to set."""

    status: int = 200
    body: JSONObject | str | None = None
    """A mapping is sent as JSON, a string as HTML."""
    location: str | None = None
    cookie: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
