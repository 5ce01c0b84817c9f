"""Sends requests over aiohttp's connections directly, or, with an untested release of aiohttp, through its session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from states.http.addresses import checked, proxy_for, split
from states.http.direct import DirectTransport
from states.http.receiving import NotHttpError, read_body
from states.http.reply import Reply

TESTED = "3.14."
"""Prefix of the tested releases of aiohttp, whose connections we use directly."""
CONNECT_TIMEOUT_S = 10.0

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
_HEADERS = {"User-Agent": "token-fulfillment-orchestrator"}

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
    if untested() is not None:
        async with _GuardedConnector(check_lease) as connector, _through_session(connector, check_lease) as send:
            yield send
        return
    async with aiohttp.TCPConnector(limit=0) as connector:
        transport = DirectTransport(connector, check_lease, _HEADERS, _TIMEOUT)
        try:
            yield transport.send
        finally:
            transport.release()


class _GuardedConnector(aiohttp.TCPConnector):
    """Checks the lease when it gives out a connection. Nothing between here and the write may suspend."""

    def __init__(self, check_lease: Callable[[], None]) -> None:
        super().__init__(limit=0)
        self._check_lease = check_lease

    async def connect(self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> Connection:
        connection = await super().connect(req, traces, timeout)
        try:
            self._check_lease()
        except BaseException:
            connection.release()
            raise
        return connection


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
        proxy, to = proxy_for(checked(split(url)[0])), URL(url, encoded=True)
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
            return Reply(answer.status, answer.headers, await read_body(answer.content))
        except BaseException:
            answer.close()
            raise

    async with reading, writing:
        yield send
