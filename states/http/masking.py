"""Masks secrets that are recognized by their place (the name of a header, a field or a JSON member) or by their form (a JWT).

:class:`orchestrator.Redactor` masks secrets that are known by their value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs
import orjson

from states.http.bodies import FORM

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
        "password",
        "privatekey",
        "refreshtoken",
        "secret",
        "token",
    )
)
"""Names from OAuth, OpenID Connect and JSON Web Keys, in lower case and without punctuation."""

_JWT = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*")
_PARAMETER = re.compile(
    r"(?i)\b(access_token|client_assertion|client_secret|code|code_verifier|id_token|refresh_token|token)=[^&\"'<>\s*]+"
)


def mask_patterns(text: str) -> str:
    """``text`` without JWTs and without the values of OAuth's secret parameters."""
    return _PARAMETER.sub(rf"\1={MASK}", _JWT.sub(MASK, text))


def _never(name: str, value: object) -> bool:
    return False


@attrs.frozen(kw_only=True)
class Masking:
    """Says which parameters, form fields and JSON members are secret, and masks them."""

    names: frozenset[str] = SECRET_NAMES
    """Secret names, in lower case and without punctuation."""
    is_public: Callable[[str, object], bool] = _never
    """Exceptions: whether this value (second argument) is shown although its name (first argument) is in ``names``."""

    def is_secret(self, name: str, value: object) -> bool:
        """Whether the value with this name is secret."""
        plain = name.lower().replace("_", "").replace("-", "")
        return plain in self.names and not self.is_public(plain, value)

    def mask_url(self, url: str) -> str:
        """A URL without its fragment and without the values of secret parameters."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return "(not a valid address)"
        return urlunsplit(parts._replace(query=self._mask_form(parts.query), fragment=""))

    def mask_body(self, body: bytes, media_type: str, *, refused: bool) -> str:
        """A masked form or JSON. Of any other body only the length is shown, because its secrets cannot be recognized.

        Args:
            refused: It is the body of an error, whose ``code`` names the error.
        """
        if not body:
            return ""
        if _is_form(media_type):
            return self._mask_form(body.decode(errors="replace"))
        try:
            return orjson.dumps(self._mask_json(orjson.loads(body), refused=refused)).decode()
        except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
            return f"({len(body)} bytes that are not JSON)"

    def secrets_of_url(self, url: str) -> Iterator[str]:
        """Values of secret parameters."""
        try:
            query = urlsplit(url).query
        except ValueError:
            return
        yield from self._secrets_of_form(query)

    def secrets_of_body(self, body: bytes, media_type: str) -> Iterator[str]:
        """Values of secret form fields or JSON members."""
        if _is_form(media_type):
            yield from self._secrets_of_form(body.decode(errors="replace"))
            return
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            return
        yield from self._secrets_of_json(data)

    def _mask_form(self, text: str) -> str:
        fields = [
            (name, MASK if self.is_secret(name, value) else value) for name, value in parse_qsl(text, keep_blank_values=True)
        ]
        return urlencode(fields, safe="*:/")

    def _mask_json(self, data: object, *, refused: bool) -> object:
        if isinstance(data, dict):
            return {
                name: MASK
                if self.is_secret(name, value) and not (refused and _is_error_code(name, value))
                else self._mask_json(value, refused=refused)
                for name, value in data.items()
            }
        return [self._mask_json(item, refused=refused) for item in data] if isinstance(data, list) else data

    def _secrets_of_form(self, text: str) -> Iterator[str]:
        return (value for name, value in parse_qsl(text) if self.is_secret(name, value))

    def _secrets_of_json(self, data: object) -> Iterator[str]:
        if isinstance(data, dict):
            for name, value in data.items():
                if isinstance(value, str):
                    if self.is_secret(name, value):
                        yield value
                else:
                    yield from self._secrets_of_json(value)
        elif isinstance(data, list):
            for item in data:
                yield from self._secrets_of_json(item)


def _is_form(media_type: str) -> bool:
    return media_type.partition(";")[0].strip().lower() == FORM


def _is_error_code(name: str, value: object) -> bool:
    return name == "code" and isinstance(value, str) and value.replace("_", "").isupper()
