"""Requests through ``aiohttp.ClientSession``, which is used with an untested release of aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses

from states.http import transport
from states.http.receiving import NotHttpError
from states.http.transport import Transport, open_transport

ADDRESS = "https://api.example.com/users?filter=a%20b"


class _Response(aiohttp.ClientResponse):
    """aioresponses 0.7.9 does not pass the writer that aiohttp 3.14 requires."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"stream_writer": Mock(), **more})


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    monkeypatch.setattr(transport, "TESTED", "another")
    with aioresponses() as fake:
        yield fake


@asynccontextmanager
async def opened() -> AsyncIterator[Transport]:
    async with open_transport(lambda: None) as send:
        yield send


async def test_a_redirect_is_returned_and_not_followed(http: aioresponses) -> None:
    http.get(ADDRESS, status=302, headers={"Location": "https://www.example.com"}, response_class=_Response)
    async with opened() as send:
        reply = await send("GET", ADDRESS, {"Cookie": "ST=one"}, None)
    assert (reply.status, reply.headers["Location"]) == (302, "https://www.example.com")
    [[call]] = http.requests.values()
    assert call.kwargs["allow_redirects"] is False
    assert call.kwargs["headers"]["Cookie"] == "ST=one"


@pytest.mark.parametrize(
    ("raised", "cls"),
    [
        (aiohttp.ClientResponseError(Mock(), ()), NotHttpError),
        (aiohttp.ClientHttpProxyError(Mock(), ()), aiohttp.ClientHttpProxyError),
        (aiohttp.ServerDisconnectedError(), aiohttp.ServerDisconnectedError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_an_error_of_the_session_is_raised_as_the_contract_says(
    http: aioresponses, raised: Exception, cls: type[Exception]
) -> None:
    http.post(ADDRESS, exception=raised)
    async with opened() as send:
        with pytest.raises(cls) as failed:
            await send("POST", ADDRESS, {}, b"{}")
    assert type(failed.value) is cls
