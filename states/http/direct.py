"""Sends requests over aiohttp's connections directly.

:meth:`aiohttp.ClientSession.request` handles redirects, cookie jars, proxies, netrc, tracing and timers, and starts a task
for each body. We use none of these, and they cost as much CPU as the whole engine adds to a request. So we open connections
with aiohttp, keep them here, write the request ourselves, and read the response with aiohttp's parser. This uses parts of aiohttp
that a minor release may change.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError

from states.http.addresses import checked, proxy_for, split
from states.http.receiving import MOST_INTERIM, NotHttpError, read_body
from states.http.reply import Reply

KEPT_S = 15.0
"""A connection that was not used for so long is closed, as in aiohttp: servers close idle ones without notice."""

_BROKEN = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)


class _Origin:
    """Scheme, host and port, with the connections to it that are free."""

    def __init__(self, to: aiohttp.ClientRequest) -> None:
        self.to = to
        """A request to it, as aiohttp's connector wants it, with the headers that all requests share."""
        self._shared = "".join(f"{name}: {value}\r\n" for name, value in to.headers.items())
        self._names = frozenset(name.lower() for name in to.headers)
        self._free: deque[tuple[Connection, float]] = deque()
        """The connections, and since when they are free (time of the loop): the latest is used first."""

    def take(self, now: float) -> Connection | None:
        """A free connection that can be used."""
        while self._free:
            connection, since = self._free.pop()
            protocol = connection.protocol
            # Unsolicited data on it (e.g. a 408) would be read as the response to the next request.
            if protocol is not None and protocol.is_connected() and not protocol.should_close and now - since < KEPT_S:
                return connection
            connection.close()
        return None

    def keep(self, connection: Connection, protocol: ResponseHandler, now: float) -> None:
        """A request is over, and the next may use its connection, unless the server wants to close it."""
        if protocol.should_close:
            connection.close()
        else:
            self._free.append((connection, now))
        while self._free and now - self._free[0][1] >= KEPT_S:
            self._free.popleft()[0].close()

    def release(self) -> None:
        """Give all free connections back to aiohttp's connector, which closes them."""
        while self._free:
            self._free.pop()[0].release()

    def written(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        """A request as it is written.

        Raises:
            ValueError: A header has a line break or a zero.
        """
        given = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if given.count("\r") != len(headers) or given.count("\n") != len(headers) or "\0" in given:
            raise ValueError("a header of the request has a control character: a line break or a zero")
        shared = self._shared if self._names.isdisjoint(map(str.lower, headers)) else self._shared_without(headers)
        if body is None and method == "GET":
            return f"{method} {target} HTTP/1.1\r\n{shared}{given}\r\n".encode()
        body = body or b""
        return f"{method} {target} HTTP/1.1\r\n{shared}{given}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _shared_without(self, headers: Mapping[str, str]) -> str:
        given = {name.lower() for name in headers}
        return "".join(f"{name}: {value}\r\n" for name, value in self.to.headers.items() if name.lower() not in given)


class DirectTransport:
    """Implements :data:`states.http.transport.Transport` with :meth:`send`.

    Args:
        connector: Opens the connections. Closing it closes them all, after :meth:`release`.
        check_lease: Called directly before bytes are written.
        headers: Sent with each request.
    """

    def __init__(
        self,
        connector: aiohttp.BaseConnector,
        check_lease: Callable[[], None],
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> None:
        self._connector = connector
        self._check_lease = check_lease
        self._headers = headers
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._origins: dict[str, _Origin] = {}

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        """See :data:`states.http.transport.Transport`."""
        origin, target = split(url)
        to = self._origins.get(origin) or self._add_origin(origin)
        request = to.written(method, target, headers, body)
        kept = to.take(self._loop.time())
        if kept is not None:
            try:
                return await self._exchange(to, kept, request)
            except _BROKEN:
                if method != "GET":
                    raise
        return await self._exchange(to, await self._connect(to.to), request)

    def release(self) -> None:
        """Leave all connections to the connector."""
        for origin in self._origins.values():
            origin.release()

    async def _connect(self, to: aiohttp.ClientRequest) -> Connection:
        try:
            connection = await self._connector.connect(to, traces=[], timeout=self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {to.url.origin()}") from error
        # One parser for all responses on it. The first data is the first response, even if it arrives before the request is sent.
        _protocol(connection).set_response_params(read_until_eof=True)
        return connection

    async def _exchange(self, to: _Origin, connection: Connection, request: bytes) -> Reply:
        protocol = _protocol(connection)
        try:
            self._check_lease()
        except BaseException:
            to.keep(connection, protocol, self._loop.time())
            raise
        try:
            if (error := protocol.exception()) is not None:
                raise error  # the server sent data first, and it is not HTTP
            transport = protocol.transport
            if transport is None or transport.is_closing():
                raise aiohttp.ClientConnectionResetError("the connection is closed")
            transport.write(request)
            message, payload = await protocol.read()
            interim = 0
            while 100 <= message.code < 200 and message.code != 101:
                interim += 1
                if interim > MOST_INTERIM:
                    raise NotHttpError
                message, payload = await protocol.read()
            reply = Reply(message.code, message.headers, await read_body(payload))
        except HttpProcessingError as error:
            connection.close()
            raise NotHttpError from error
        except BaseException:
            connection.close()
            raise
        to.keep(connection, protocol, self._loop.time())
        return reply

    def _add_origin(self, origin: str) -> _Origin:
        url = checked(origin)
        to = aiohttp.ClientRequest("GET", url, headers=self._headers, loop=self._loop, **proxy_for(url))
        added = self._origins[origin] = _Origin(to)
        return added


def _protocol(connection: Connection) -> ResponseHandler:
    assert connection.protocol is not None, "the connection is open"
    return connection.protocol
