"""How a request reaches the network: straight over aiohttp's connections, or through its session.

:meth:`aiohttp.ClientSession.request` looks after redirects, cookie jars, proxies, netrc, tracing and timers, and starts a
task for every body. None of that is used here, and it takes as much CPU as all that the engine adds to a request. So a
request takes a connection out of aiohttp's pool, has aiohttp write it and parse the answer, and gives the connection back. That
leans on parts of aiohttp that may change with a minor release: under one that was not tested, requests go through its session.
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

from states.pingone.answers import Reply

TESTED = "3.14."
"""The releases of aiohttp over whose connections we send."""
CONNECT_TIMEOUT_S = 10.0
MOST_BYTES = 8 << 20
"""Of the body of an answer, decompressed. A full page of a list has three million."""
MOST_INTERIM = 16
"""Interim answers (100, 103) before an answer."""

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
_HEADERS = {"User-Agent": "token-fulfillment-orchestrator"}
_PARTS = re.compile(r"(https?://[^/?#@\s]+)(/[^#\s]*)(?:#\S*)?", re.IGNORECASE)

Transport = Callable[[str, str, Mapping[str, str], bytes | None], Awaitable[Reply]]
"""Sends a request (method, URL, headers, body) once, follows nothing, keeps no cookies, and reads the answer to its end. A GET
whose kept connection breaks before the answer is sent again, on a fresh one: servers close kept connections without notice. It
has no time limit but for connecting. ``HTTPS_PROXY`` and ``NO_PROXY`` say by way of which proxy. The lease is checked as the last
thing before bytes are written: connecting may take so long that another process has taken the run over.

Raises:
    LeaseExpiredError: Nothing was sent.
    aiohttp.InvalidURL: Nothing was sent.
    aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError: There is no connection, so
        nothing was sent.
    AnswerTooLongError, NotHttpError: The request was written, and the answer cannot be used.
    aiohttp.ClientError, OSError: The connection broke.
"""


class AnswerTooLongError(aiohttp.ClientError):
    """The body of an answer is larger than ``MOST_BYTES``; the connection was closed while it came."""


class NotHttpError(aiohttp.ClientError):
    """What came is not HTTP, or its head is larger than aiohttp takes. The text is not repeated."""


def untested() -> str | None:
    """What a user should know of the release of aiohttp that is installed, if there is something."""
    if aiohttp.__version__.startswith(TESTED):
        return None
    return (
        f"aiohttp {aiohttp.__version__} was not tested: requests take about a third more CPU time; for full speed: "
        f"pip install 'aiohttp=={TESTED}*'"
    )


@asynccontextmanager
async def open_transport(check_lease: Callable[[], None]) -> AsyncIterator[Transport]:
    """A transport with its own connections; all instances of a process may share it.

    Args:
        check_lease: Raises when this process may not send a request.
    """
    # limit=0: aiohttp's pool hands a freed connection back to its last user and starves those that wait; how many
    # instances are driven at once is the run's to say.
    async with _GuardedConnector(check_lease) as connector, _GuardedConnector(check_lease, force_close=True) as fresh:
        if untested() is None:
            yield _Direct(connector, fresh).send
        else:
            async with _through_session(connector, check_lease) as send:
                yield send


class _GuardedConnector(aiohttp.TCPConnector):
    """Gives out a connection only if a request may be sent at that moment. No ``await`` that waits may stand between here
    and the writing."""

    def __init__(self, check_lease: Callable[[], None], *, force_close: bool = False) -> None:
        super().__init__(limit=0, force_close=force_close)
        self._guard = check_lease

    async def connect(self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> Connection:
        connection = await super().connect(req, traces, timeout)
        try:
            self._guard()
        except BaseException:
            connection.release()
            raise
        return connection


class _KeptConnectionLostError(Exception):
    """A kept connection broke before the answer."""


class _Direct:
    """Requests straight over the connections of a connector; ``fresh`` keeps none."""

    def __init__(self, connector: aiohttp.BaseConnector, fresh: aiohttp.BaseConnector) -> None:
        self._connector = connector
        self._fresh = fresh
        self._loop = asyncio.get_running_loop()
        self._origins: dict[str, aiohttp.ClientRequest] = {}
        """Scheme, host and port → a request to there: tells the pool where to, and has the headers that all requests share."""
        self._used: WeakSet[ResponseHandler] = WeakSet()
        """Connections on which a request was sent."""

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
                # On a new connection, the first thing that a server says is its answer, even if it says it before we ask.
                self._used.add(protocol)
                return connection, False
            if not protocol.should_close:
                return connection, True
            # Something was said on a kept one while nobody asked (a 408, say): it does not answer the next request.
            connection.close()

    async def _exchange(
        self, connection: Connection, method: str, target: str, headers: CIMultiDict[str], body: bytes | None
    ) -> Reply:
        protocol = _protocol(connection)
        protocol.set_response_params(read_until_eof=True)
        if (error := protocol.exception()) is not None:
            raise error  # the server spoke first, and another protocol
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
    """The whole body; aiohttp decompresses no more of it than fits into a buffer until that is read."""
    parts, length = [], 0
    while part := await payload.readany():
        length += len(part)
        if length > MOST_BYTES:
            raise AnswerTooLongError
        parts.append(part)
    return b"".join(parts)


def _protocol(connection: Connection) -> ResponseHandler:
    assert connection.protocol is not None, "it is open"
    return connection.protocol


class _GuardedBody(aiohttp.BytesPayload):
    """aiohttp's session writes a body, and the headers with it, in another task than the one that had the connection."""

    def __init__(self, body: bytes, check_lease: Callable[[], None]) -> None:
        super().__init__(body)
        self._guard = check_lease

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        self._guard()
        await super().write_with_length(writer, content_length)


@asynccontextmanager
async def _through_session(connector: aiohttp.BaseConnector, check_lease: Callable[[], None]) -> AsyncIterator[Transport]:
    def session() -> aiohttp.ClientSession:
        jar = aiohttp.DummyCookieJar()
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=jar, timeout=_TIMEOUT, headers=_HEADERS, connector_owner=False
        )

    # aiohttp sends a request again by itself when a connection breaks, PUT and DELETE included. A password that is set twice may
    # fail its own history: whether anything but a GET is sent again is for the driver to decide.
    reading, writing = session(), session()
    writing._retry_connection = False  # noqa: SLF001  # there is no public switch

    async def send(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
        proxy, to = _proxy_for(_checked(_split(url)[0])), URL(url, encoded=True)
        # Reading to the end gives the connection back, and so does a failure: no need of `async with`.
        data = None if body is None else _GuardedBody(body, check_lease)
        client = reading if method == "GET" else writing
        try:
            answer = await client.request(method, to, data=data, headers=headers, allow_redirects=False, **proxy)
        except aiohttp.ClientHttpProxyError:
            raise
        except aiohttp.ClientError as error:
            check_lease()  # a body that may not be written reads as a broken connection
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
    """As the environment says. What is not encrypted stays on this machine, where no proxy is wanted."""
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
    # Host: aiohttp would put it in later, and then look for connections in another place than where it keeps them.
    headers = {"Host": origin.host_port_subcomponent or host}
    if proxy.user:
        headers["Proxy-Authorization"] = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
    return {"proxy": proxy.with_user(None), "proxy_headers": headers}
