"""Sends a request, reads the response, and translates every failure of the network into an error of the engine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp

from orchestrator import AmbiguousError, RequestTracer, Secret, StepError, TransientError, record_exchange
from states.http.bodies import JSON
from states.http.errors import NoConnectionError
from states.http.exchange import HttpExchange
from states.http.masking import Masking
from states.http.receiving import MOST_BYTES, AnswerTooLongError, NotHttpError
from states.http.reply import Reply
from states.http.request import Request
from states.http.tracing import traced
from states.http.transport import CONNECT_TIMEOUT_S, Transport, open_transport

Refuse = Callable[[str, Reply], StepError]
"""Makes the error for a response with an unexpected status, from the operation in words and the response."""


class Session:
    """Sends requests. It keeps no cookies (they belong to the instance), follows no redirects (the caller reads them), and
    has no time limit of its own (the attempt has one).

    Args:
        refuse: The vendor's table of errors.
        masking: The vendor's names of secrets.
    """

    def __init__(self, transport: Transport, check_lease: Callable[[], None], *, refuse: Refuse, masking: Masking) -> None:
        self._transport = transport
        self._check_lease = check_lease
        self._refuse = refuse
        self._masking = masking

    async def send(
        self,
        what: str,
        method: str,
        url: str,
        *,
        ok: tuple[int, ...] = (200,),
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, Secret] | None = None,
        body: bytes | None = None,
        media_type: str = JSON,
        secrets: Iterable[Secret] = (),
    ) -> Reply:
        """One request, sent once.

        Args:
            what: The operation in words, for errors.
            ok: Statuses of success.
            secrets: Secret values in the request that ``masking`` does not recognize.

        Raises:
            StepError: The response has another status, or there is none.
            LeaseExpiredError: This process may no longer send requests.
        """
        self._check_lease()  # before a connection is opened; the transport checks again just before it writes
        sent = dict(headers or ())
        if body is not None:
            sent["Content-Type"] = media_type
        if cookies:
            sent["Cookie"] = "; ".join(f"{name}={value.reveal()}" for name, value in cookies.items())
        request = Request(method, url, sent, body, secrets, self._masking)
        exchange = HttpExchange(time.time(), request)
        record_exchange(exchange)
        try:
            reply = exchange.reply = await self._transport(method, url, sent, body)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            exchange.ended, exchange.error = time.time(), f"no answer ({type(error).__name__})"
            failure = _unanswered(what, request, error)
            # Without its cause, which may quote bytes of the response.
            raise failure from None
        exchange.ended = time.time()
        reply.asked = request
        if reply.status in ok:
            return reply
        raise self._refuse(what, reply)


def _unanswered(what: str, request: Request, error: Exception) -> StepError:
    """The error for a request that got no response."""
    url = request.url
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return NoConnectionError(
                f"{what}: the certificate of {error.host} is not trusted; add its issuer to the trust store (SSL_CERT_FILE)",
                code="certificate",
            )
        case aiohttp.ClientConnectorSSLError():
            return NoConnectionError(f"{what}: no TLS connection to {error.host}: {error.os_error}", code="tls")
        case aiohttp.ClientProxyConnectionError():
            reason = f"the proxy {error.host}:{error.port} cannot be reached ({error.os_error.strerror or error.os_error})"
            return TransientError(f"{what}: {reason}; see HTTPS_PROXY", code="unreachable")
        case aiohttp.ClientConnectorError():
            reason = f"{error.host}:{error.port} cannot be reached ({error.os_error.strerror or error.os_error})"
            return TransientError(f"{what}: {reason}", code="unreachable")
        case aiohttp.ConnectionTimeoutError():
            reason = f"{urlsplit(url).netloc} cannot be reached (no connection within {CONNECT_TIMEOUT_S:g} s)"
            return TransientError(f"{what}: {reason}", code="unreachable")
        case aiohttp.ClientHttpProxyError():
            reason = f"the proxy refuses connections to {urlsplit(url).netloc} ({error.status} {request.quote(error.message)})"
            cls = TransientError if error.status >= 500 else NoConnectionError
            return cls(f"{what}: {reason}; see HTTPS_PROXY and NO_PROXY", code="proxy")
        case aiohttp.InvalidURL():
            return NoConnectionError(f"{what}: {error.description or 'the address is not valid'}", code="address")
        case _:
            # All or a part of the request was written: the server may have handled it.
            return _unusable(what, request, error)


def _unusable(what: str, request: Request, error: Exception) -> StepError:
    if isinstance(error, AnswerTooLongError):
        cls = TransientError if request.method == "GET" else AmbiguousError  # reading changes nothing
        return cls(f"{what}: the answer is longer than {MOST_BYTES >> 20} MB, which is the limit", code="too_long")
    if isinstance(error, NotHttpError):
        return AmbiguousError(f"{what}: the answer is not HTTP, or its headers are too long", code="not_http")
    return AmbiguousError(f"{what}: the connection broke before the answer ({type(error).__name__})", code="connection")


@asynccontextmanager
async def open_session(
    check_lease: Callable[[], None], *, refuse: Refuse, masking: Masking, tracer: RequestTracer | None = None
) -> AsyncIterator[Session]:
    """A session with its own connections; all instances of a process share it.

    Args:
        tracer: Traces the requests.
    """
    async with open_transport(check_lease) as transport:
        sends = transport if tracer is None else traced(transport, tracer)
        yield Session(sends, check_lease, refuse=refuse, masking=masking)
