"""A transport without a network, for tests of a client: scripted responses, and a record of the requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import anyio
import attrs
import orjson
from multidict import CIMultiDict

from states.http.reply import Reply


@attrs.frozen
class Sent:
    """A request that the client sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None


@attrs.frozen(kw_only=True)
class _Script:
    method: str
    url: str | re.Pattern[str]
    status: int
    headers: Mapping[str, str]
    body: bytes
    error: Exception | None
    hangs: bool
    repeat: bool

    def matches(self, method: str, url: str) -> bool:
        return method == self.method and (self.url == url if isinstance(self.url, str) else bool(self.url.fullmatch(url)))


class FakeTransport:
    """Implements :data:`states.http.transport.Transport` with :meth:`send`. Responses are used in the order in which they were added."""

    def __init__(self) -> None:
        self.requests: list[Sent] = []
        self._scripts: list[_Script] = []

    def add(
        self,
        method: str,
        url: str | re.Pattern[str],
        *,
        status: int = 200,
        headers: Mapping[str, str] = {},
        json: Any = None,
        body: bytes = b"",
        error: Exception | None = None,
        hangs: bool = False,
        repeat: bool = False,
    ) -> None:
        """Respond to one request, or with ``repeat`` to any number.

        Args:
            json: The body, as data.
            error: Raise this instead.
            hangs: Never respond.
        """
        data = body if json is None else orjson.dumps(json)
        script = _Script(
            method=method, url=url, status=status, headers=headers, body=data, error=error, hangs=hangs, repeat=repeat
        )
        self._scripts.append(script)

    def get(self, url: str | re.Pattern[str], **response: Any) -> None:
        """:meth:`add` for GET."""
        self.add("GET", url, **response)

    def post(self, url: str | re.Pattern[str], **response: Any) -> None:
        """:meth:`add` for POST."""
        self.add("POST", url, **response)

    def clear(self) -> None:
        """Forget all responses."""
        self._scripts.clear()

    def sent(self, method: str, url: str) -> list[Sent]:
        """The requests to this URL."""
        return [request for request in self.requests if (request.method, request.url) == (method, url)]

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        """See :data:`states.http.transport.Transport`."""
        self.requests.append(Sent(method, url, dict(headers), body))
        script = next((script for script in self._scripts if script.matches(method, url)), None)
        assert script is not None, f"no response was added for {method} {url}"
        if not script.repeat:
            self._scripts.remove(script)
        await anyio.lowlevel.checkpoint()
        if script.hangs:
            await anyio.sleep_forever()
        if script.error is not None:
            raise script.error
        return Reply(script.status, CIMultiDict(script.headers), script.body)
