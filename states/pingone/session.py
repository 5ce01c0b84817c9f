"""Sends a request, reads the answer, and turns every failure of the network into ours."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp

from orchestrator import AmbiguousError, Secret, StepError, TransientError, record_exchange
from states.pingone.answers import NoConnectionError, Reply, refusal
from states.pingone.bodies import JSON
from states.pingone.exchange import HttpExchange
from states.pingone.request import Request
from states.pingone.transport import (
    CONNECT_TIMEOUT_S,
    MOST_BYTES,
    AnswerTooLongError,
    NotHttpError,
    Transport,
    open_transport,
)


class Session:
    """Sends requests. It keeps no cookies (they belong to the instance), follows no redirects (steps 10 and 13
    read them), and has no time limit of its own (the attempt has one)."""

    def __init__(self, transport: Transport, check_lease: Callable[[], None]) -> None:
        self._transport = transport
        self._guard = check_lease

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
            what: What it asks for, in words, for errors.
            ok: Statuses that are no error.
            secrets: Values in the request that are secret, beside those whose place in it says so.

        Raises:
            StepError: As the answer, or its absence, says (see :mod:`states.pingone.answers`).
            LeaseExpiredError: This process may not send any more.
        """
        self._guard()  # not even a connection is opened; the transport checks again just before it writes
        sent = dict(headers or ())
        if body is not None:
            sent["Content-Type"] = media_type
        if cookies:
            sent["Cookie"] = "; ".join(f"{name}={value.reveal()}" for name, value in cookies.items())
        request = Request(method, url, sent, body, secrets)
        exchange = HttpExchange(time.time(), request)
        record_exchange(exchange)
        try:
            reply = exchange.reply = await self._transport(method, url, sent, body)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            exchange.ended, exchange.error = time.time(), f"no answer ({type(error).__name__})"
            failure = _unanswered(what, request, error)
            # Without its cause, which may quote bytes of the answer.
            raise failure from None
        exchange.ended = time.time()
        reply.asked = request
        if reply.status in ok:
            return reply
        raise refusal(what, reply)


def _unanswered(what: str, request: Request, error: Exception) -> StepError:
    """What the end of a request without an answer means."""
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
            reason = f"the proxy lets nobody through to {urlsplit(url).netloc} ({error.status} {request.quote(error.message)})"
            cls = TransientError if error.status >= 500 else NoConnectionError
            return cls(f"{what}: {reason}; see HTTPS_PROXY and NO_PROXY", code="proxy")
        case aiohttp.InvalidURL():
            return NoConnectionError(f"{what}: {error.description or 'the address is not valid'}", code="address")
        case _:
            # The request, or a part of it, was written: whether it was handled is not known.
            return _unusable(what, request, error)


def _unusable(what: str, request: Request, error: Exception) -> StepError:
    if isinstance(error, AnswerTooLongError):
        cls = TransientError if request.method == "GET" else AmbiguousError  # reading changes nothing
        return cls(f"{what}: the answer is longer than {MOST_BYTES >> 20} MB, which is the limit", code="too_long")
    if isinstance(error, NotHttpError):
        return AmbiguousError(f"{what}: the answer is not HTTP, or its headers are too long", code="not_http")
    return AmbiguousError(f"{what}: the connection broke before the answer ({type(error).__name__})", code="connection")


@asynccontextmanager
async def open_session(check_lease: Callable[[], None]) -> AsyncIterator[Session]:
    """A session for as many instances as like to share it."""
    async with open_transport(check_lease) as transport:
        yield Session(transport, check_lease)
