"""Sends requests over aiohttp's connections directly, or through its session.

:meth:`aiohttp.ClientSession.request` handles redirects, cookie jars, proxies, netrc, tracing and timers, and starts a task
for each body. We use none of these, and they cost as much CPU as the whole engine adds to a request. So we take a connection
from aiohttp's pool, use aiohttp's writer and parser on it, and give it back. This uses parts of aiohttp that a minor release
may change: with an untested release, requests go through the session.
"""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypedDict
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict
from yarl import URL

from states.http.reply import Reply

TESTED = "3.14."
"""Prefix of the tested releases of aiohttp, whose connections we use directly."""
CONNECT_TIMEOUT_S = 10.0
MOST_BYTES = 8 << 20
"""Limit of a response body, decompressed. A full page of a list has 3 MB."""
MOST_INTERIM = 16
"""Limit of interim responses (100, 103) before a response."""

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
_HEADERS = {"User-Agent": "token-fulfillment-orchestrator"}
_PARTS = re.compile(r"(https?://[^/?#@\s]+)(/[^#\s]*)(?:#\S*)?", re.IGNORECASE)

Transport = Callable[[str, str, Mapping[str, str], bytes | None], Awaitable[Reply]]
"""Sends a request (method, URL, headers, body) once and reads the whole response. It follows no redirects and keeps no cookies.
A GET is sent again on a new connection if its kept connection breaks before the response: servers close kept connections
without notice. Only connecting has a time limit. ``HTTPS_PROXY`` and ``NO_PROXY`` select a proxy. The lease is checked directly
before bytes are written, because connecting may take so long that another process has resumed the run.

Raises:
    LeaseExpiredError: Nothing was sent.
    aiohttp.InvalidURL: Nothing was sent.
    aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError: There was no connection, so
        nothing was sent.
    AnswerTooLongError, NotHttpError: The request was written, and the response cannot be used.
    aiohttp.ClientError, OSError: The connection broke.
"""


class AnswerTooLongError(aiohttp.ClientError):
    """The body of a response is larger than ``MOST_BYTES``. The connection was closed."""


class NotHttpError(aiohttp.ClientError):
    """The response is not HTTP, or its head exceeds the limits of aiohttp. The error does not quote it."""


def untested() -> str | None:
    """A notice for users if the installed release of aiohttp was not tested."""
    if aiohttp.__version__.startswith(TESTED):
        return None
    return (
        f"aiohttp {aiohttp.__version__} was not tested: requests take about a third more CPU time; for full speed: "
        f"pip install 'aiohttp=={TESTED}*'"
    )


@asynccontextmanager
async def open_transport(check_lease: Callable[[], None]) -> AsyncIterator[Transport]:
    """A transport with its own connections; all instances of a process share it.

    Args:
        check_lease: Raises when this process may not send a request.
    """
    # limit=0: with a limit, aiohttp's pool gives a freed connection to its last user and starves the waiting ones. The run
    # limits how many instances are active.
    async with _GuardedConnector(check_lease) as connector, _GuardedConnector(check_lease, force_close=True) as fresh:
        if untested() is None:
            yield _Direct(connector, fresh).send
        else:
            async with _through_session(connector, check_lease) as send:
                yield send


class _GuardedConnector(aiohttp.TCPConnector):
    """Checks the lease when it gives out a connection. Nothing between here and the write may suspend."""

    def __init__(self, check_lease: Callable[[], None], *, force_close: bool = False) -> None:
        super().__init__(limit=0, force_close=force_close)
        self._check_lease = check_lease

    async def connect(self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> Connection:
        connection = await super().connect(req, traces, timeout)
        try:
            self._check_lease()
        except BaseException:
            connection.release()
            raise
        return connection


class _KeptConnectionLostError(Exception):
    """A kept connection broke before the response."""


class _Direct:
    """Sends requests over the connections of a connector. ``fresh`` is a second connector that keeps no connections."""

    def __init__(self, connector: aiohttp.BaseConnector, fresh: aiohttp.BaseConnector) -> None:
        self._connector = connector
        self._fresh = fresh
        self._loop = asyncio.get_running_loop()
        self._origins: dict[str, aiohttp.ClientRequest] = {}
        """Scheme, host and port → a request to that origin, as the pool wants it, with the headers that all requests share."""
        self._used: WeakSet[ResponseHandler] = WeakSet()
        """Connections that were used before."""

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        """See :data:`Transport`."""
        origin, target = _split(url)
        to = self._origins.get(origin) or self._add_origin(origin)
        sent = to.headers.copy()
        sent.update(headers)
        if body is not None or method != "GET":
            sent["Content-Length"] = str(len(body or b""))
        try:
            return await self._send(self._connector, to, method, target, sent, body)
        except _KeptConnectionLostError:
            return await self._send(self._fresh, to, method, target, sent, body)

    async def _send(
        self,
        connector: aiohttp.BaseConnector,
        to: aiohttp.ClientRequest,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | None,
    ) -> Reply:
        try:
            connection, is_kept = await self._connect(connector, to)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {to.url.origin()}") from error
        try:
            reply = await self._exchange(connection, method, target, headers, body)
        except HttpProcessingError as error:
            connection.close()
            raise NotHttpError from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError) as error:
            connection.close()
            if is_kept and method == "GET":
                raise _KeptConnectionLostError from error
            raise
        except BaseException:
            connection.close()
            raise
        connection.release()
        return reply

    async def _connect(self, connector: aiohttp.BaseConnector, to: aiohttp.ClientRequest) -> tuple[Connection, bool]:
        """A connection, and whether it was kept from an earlier request."""
        while True:
            connection = await connector.connect(to, traces=[], timeout=_TIMEOUT)
            protocol = _protocol(connection)
            if protocol not in self._used:
                # On a new connection, the first data is the response, even if it arrives before the request is sent.
                self._used.add(protocol)
                return connection, False
            if not protocol.should_close:
                return connection, True
            # Unsolicited data on a kept connection (e.g. a 408): it would be read as the response to the next request.
            connection.close()

    async def _exchange(
        self, connection: Connection, method: str, target: str, headers: CIMultiDict[str], body: bytes | None
    ) -> Reply:
        protocol = _protocol(connection)
        protocol.set_response_params(read_until_eof=True)
        if (error := protocol.exception()) is not None:
            raise error  # the server sent data first, and it is not HTTP
        writer = StreamWriter(protocol, self._loop)
        await writer.write_headers(f"{method} {target} HTTP/1.1", headers)
        await writer.write_eof(body or b"")
        message, payload = await protocol.read()
        interim = 0
        while 100 <= message.code < 200 and message.code != 101:
            interim += 1
            if interim > MOST_INTERIM:
                raise NotHttpError
            message, payload = await protocol.read()
        return Reply(message.code, message.headers, await _read(payload))

    def _add_origin(self, origin: str) -> aiohttp.ClientRequest:
        url = _checked(origin)
        to = self._origins[origin] = aiohttp.ClientRequest("GET", url, headers=_HEADERS, loop=self._loop, **_proxy_for(url))
        return to


async def _read(payload: aiohttp.StreamReader) -> bytes:
    """The whole body. aiohttp decompresses only as much as its buffer holds until we read, so a small bomb stays small."""
    parts, length = [], 0
    while part := await payload.readany():
        length += len(part)
        if length > MOST_BYTES:
            raise AnswerTooLongError
        parts.append(part)
    return b"".join(parts)


def _protocol(connection: Connection) -> ResponseHandler:
    assert connection.protocol is not None, "the connection is open"
    return connection.protocol


class _GuardedBody(aiohttp.BytesPayload):
    """Checks the lease again: aiohttp's session writes headers and body in another task than the one that got the connection."""

    def __init__(self, body: bytes, check_lease: Callable[[], None]) -> None:
        super().__init__(body)
        self._check_lease = check_lease

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        self._check_lease()
        await super().write_with_length(writer, content_length)


@asynccontextmanager
async def _through_session(connector: aiohttp.BaseConnector, check_lease: Callable[[], None]) -> AsyncIterator[Transport]:
    def session() -> aiohttp.ClientSession:
        jar = aiohttp.DummyCookieJar()
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=jar, timeout=_TIMEOUT, headers=_HEADERS, connector_owner=False
        )

    # When a connection breaks, aiohttp repeats requests, also PUT and DELETE. Setting a password twice may violate the
    # password history, so only the driver decides whether another method than GET is sent again.
    reading, writing = session(), session()
    writing._retry_connection = False  # noqa: SLF001  # there is no public switch

    async def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        proxy, to = _proxy_for(_checked(_split(url)[0])), URL(url, encoded=True)
        # Reading to the end releases the connection, and so does a failure, so `async with` is not needed.
        data = None if body is None else _GuardedBody(body, check_lease)
        client = reading if method == "GET" else writing
        try:
            answer = await client.request(method, to, data=data, headers=headers, allow_redirects=False, **proxy)
        except aiohttp.ClientHttpProxyError:
            raise
        except aiohttp.ClientError as error:
            check_lease()  # aiohttp reports a failed check in `_GuardedBody` as a broken connection
            if isinstance(error, aiohttp.ClientResponseError):
                raise NotHttpError from error
            raise
        try:
            return Reply(answer.status, answer.headers, await _read(answer.content))
        except BaseException:
            answer.close()
            raise

    async with reading, writing:
        yield send


def _split(url: str) -> tuple[str, str]:
    """Origin, and path with query."""
    parts = _PARTS.fullmatch(url)
    if parts is None:
        raise aiohttp.InvalidURL(url)
    return parts[1], parts[2]


def _checked(origin: str) -> URL:
    try:
        return URL(origin)
    except ValueError as error:
        raise aiohttp.InvalidURL(origin) from error


class _Proxy(TypedDict, total=False):
    proxy: URL
    proxy_headers: dict[str, str]


def _proxy_for(origin: URL) -> _Proxy:
    """The proxy that the environment selects. Plain HTTP is loopback only, so it is never proxied."""
    host = origin.host
    if origin.scheme != "https" or host is None or urllib.request.proxy_bypass(host):
        return {}
    address = urllib.request.getproxies().get("https")
    if not address:
        return {}
    try:
        proxy = URL(address if "://" in address else f"http://{address}")
    except ValueError:
        proxy = URL()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        raise aiohttp.InvalidURL(str(origin), "HTTPS_PROXY does not name an http proxy")
    # Set Host now: aiohttp would add it later, and the keys of its connection pool would differ.
    headers = {"Host": origin.host_port_subcomponent or host}
    if proxy.user:
        headers["Proxy-Authorization"] = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
    return {"proxy": proxy.with_user(None), "proxy_headers": headers}
