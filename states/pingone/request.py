"""A request, and how text that comes back for it may be quoted."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from urllib.parse import unquote_plus

import attrs

from orchestrator import Redactor, Secret, visible
from states.pingone.masking import SECRET_HEADERS, mask_patterns, mask_url, secrets_of_body, secrets_of_url

QUOTED = 500
"""Characters of the other side's text that an error quotes."""
_READ = 8 * QUOTED
"""Characters of it that are looked at: masked secrets make it shorter."""


@attrs.frozen(slots=False)
class Request:
    """A request as it is sent. It is shown without its headers and its body."""

    method: str
    url: str = attrs.field(repr=mask_url)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    given: Iterable[Secret] = attrs.field(default=(), repr=False)
    """Secrets in it that its caller names."""

    @cached_property
    def secrets(self) -> frozenset[Secret]:
        """Everything secret that it sends."""
        return frozenset((*map(Secret, self._found()), *self.given))

    def quote(self, said: object, most: int = QUOTED) -> str:
        """Text from the other side as an error may repeat it: without what this request sent, without characters that act
        on a terminal, and cut."""
        text = visible(mask_patterns(self._redactor.redact(str(said)[:_READ])))
        return text if len(text) <= most else f"{text[:most]}…"

    @cached_property
    def _redactor(self) -> Redactor:
        return Redactor(self.secrets)

    def _found(self) -> Iterator[str]:
        for name, value in self.headers.items():
            if name.lower() in SECRET_HEADERS:
                yield from _of_cookies(value) if name.lower() == "cookie" else _of_credentials(value)
        yield from secrets_of_url(self.url)
        if self.body is not None:
            yield from secrets_of_body(self.body, self.headers.get("Content-Type", ""))


def _of_cookies(header: str) -> Iterator[str]:
    return (cookie.partition("=")[2].strip() for cookie in header.split(";"))


def _of_credentials(header: str) -> Iterator[str]:
    """Of ``Bearer token`` the token; of ``Basic base64(name:password)`` the text, and the password in both forms."""
    scheme, _, credentials = header.partition(" ")
    yield credentials
    if scheme.lower() == "basic":
        try:
            password = base64.b64decode(credentials).decode().partition(":")[2]
        except ValueError:
            return
        yield password
        yield unquote_plus(password)
