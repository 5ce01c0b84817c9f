"""The mapping from network failures to errors, and the check of the lease."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock

import aiohttp
import pytest

from orchestrator import AmbiguousError, LeaseExpiredError, PermanentError, Secret, StepError, TransientError
from states.http.bodies import FORM
from states.http.errors import NoConnectionError
from states.http.masking import Masking
from states.http.reply import Reply
from states.http.session import Session
from tests.support.transport import FakeTransport, Sent

URL = "https://api.example.com/users"


def refuse(what: str, reply: Reply) -> StepError:
    """A vendor without error codes."""
    return PermanentError(f"{what}: {reply.status}: {reply.asked.quote(reply.body.decode())}")


def session(http: FakeTransport, check_lease: Callable[[], None] = lambda: None) -> Session:
    return Session(http.send, check_lease, refuse=refuse, masking=Masking())


@pytest.mark.parametrize(
    ("error", "cls"),
    [
        (aiohttp.ServerDisconnectedError(), AmbiguousError),
        (aiohttp.ClientPayloadError("x"), AmbiguousError),
        (aiohttp.ClientOSError(104, "reset"), AmbiguousError),
        (TimeoutError(), AmbiguousError),
        (aiohttp.ConnectionTimeoutError(), TransientError),
        (aiohttp.ClientConnectorError(Mock(host="h", port=1, ssl=False), OSError(111, "refused")), TransientError),
        (aiohttp.ClientProxyConnectionError(Mock(host="h", port=1, ssl=False), OSError(111, "refused")), TransientError),
        (aiohttp.ClientHttpProxyError(Mock(), (), status=407, message="Who are you?"), NoConnectionError),
        (aiohttp.ClientHttpProxyError(Mock(), (), status=503, message="Later"), TransientError),
        (aiohttp.InvalidURL("x"), NoConnectionError),
        (aiohttp.ClientConnectorCertificateError(Mock(host="h", port=1), Exception("self-signed")), NoConnectionError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_which_broken_connection_means_what(error: Exception, cls: type[StepError]) -> None:
    http = FakeTransport()
    http.post(URL, error=error)
    with pytest.raises(StepError, match=r"^create user: ") as failed:
        await session(http).send("create user", "POST", URL, body=b"{}")
    assert type(failed.value) is cls


async def test_the_lease_is_checked_before_every_request() -> None:
    http = FakeTransport()

    def late() -> None:
        raise LeaseExpiredError("261123-000000", 1.0)

    with pytest.raises(LeaseExpiredError):
        await session(http, late).send("read", "GET", URL)
    assert http.requests == []


async def test_a_request_carries_its_media_type_and_its_cookies() -> None:
    http = FakeTransport()
    http.post(URL, status=201, headers={"Set-Cookie": "ST=two; Path=/; HttpOnly"})
    cookies = {"ST": Secret("one"), "other": Secret("three")}
    reply = await session(http).send("ask", "POST", URL, ok=(201,), cookies=cookies, body=b"a=b", media_type=FORM)
    assert http.requests == [Sent("POST", URL, {"Content-Type": FORM, "Cookie": "ST=one; other=three"}, b"a=b")]
    assert {name: value.reveal() for name, value in reply.cookies.items()} == {"ST": "two"}


async def test_a_status_that_is_not_a_success_becomes_the_error_of_the_vendor() -> None:
    http = FakeTransport()
    http.get(URL, status=418, body=b"the secret-token is bad")
    with pytest.raises(PermanentError) as refused:
        await session(http).send("ask", "GET", URL, headers={"Authorization": "Bearer secret-token"})
    assert refused.value.message == "ask: 418: the ******** is bad"
