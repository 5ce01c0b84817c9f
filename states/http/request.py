"""A request, its secrets, and a safe way to quote text of its response."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from urllib.parse import unquote_plus

import attrs

from orchestrator import Redactor, Secret, visible
from states.http.masking import SECRET_HEADERS, Masking, mask_patterns

QUOTED = 500
"""Characters of a server's text that an error quotes."""
_READ = 8 * QUOTED
"""Characters of it that are masked before the cut: masking makes a text shorter."""
_DEFAULT = Masking()


@attrs.frozen(slots=False, repr=False)
class Request:
    """A request as it is sent. Its ``repr`` shows neither headers nor body."""

    method: str
    url: str
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes | None = None
    given: Iterable[Secret] = ()
    """Secrets in it that the caller names."""
    masking: Masking = _DEFAULT

    def __repr__(self) -> str:
        return f"Request({self.method!r}, {self.masking.mask_url(self.url)!r})"

    @cached_property
    def secrets(self) -> frozenset[Secret]:
        """All secrets in it."""
        return frozenset((*map(Secret, self._found()), *self.given))

    def quote(self, said: object, most: int = QUOTED) -> str:
        """A server's text, safe for an error message: secrets of this request masked, control characters replaced, and cut to
        ``most`` characters."""
        text = visible(mask_patterns(self._redactor.redact(str(said)[:_READ])))
        return text if len(text) <= most else f"{text[:most]}…"

    @cached_property
    def _redactor(self) -> Redactor:
        return Redactor(self.secrets)

    def _found(self) -> Iterator[str]:
        for name, value in self.headers.items():
            if name.lower() in SECRET_HEADERS:
                yield from _of_cookies(value) if name.lower() == "cookie" else _of_credentials(value)
        yield from self.masking.secrets_of_url(self.url)
        if self.body is not None:
            yield from self.masking.secrets_of_body(self.body, self.headers.get("Content-Type", ""))


def _of_cookies(header: str) -> Iterator[str]:
    return (cookie.partition("=")[2].strip() for cookie in header.split(";"))


def _of_credentials(header: str) -> Iterator[str]:
    """The token of ``Bearer token``; of ``Basic base64(name:password)`` the base64 text and the password, as sent and decoded."""
    scheme, _, credentials = header.partition(" ")
    yield credentials
    if scheme.lower() == "basic":
        try:
            password = base64.b64decode(credentials).decode().partition(":")[2]
        except ValueError:
            return
        yield password
        yield unquote_plus(password)
