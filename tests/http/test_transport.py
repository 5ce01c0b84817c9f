"""Requests and responses over real sockets: directly on aiohttp's connections, and through its session."""

from __future__ import annotations

import asyncio
import gzip

import aiohttp
import pytest

from states.http import transport
from states.http.transport import open_transport
from tests.support.peer import allowed, get, ok, peer

pytestmark = pytest.mark.usefixtures("way")


async def test_a_request_has_the_given_headers_and_those_that_http_requires() -> None:
    async with peer(ok(), ok(), ok()) as there, open_transport(allowed) as send:
        await send("POST", f"{there.url}/a%20b?c=d%2Fe", {"Content-Type": "application/json", "Cookie": "ST=1"}, b'{"f": 1}')
        await send("DELETE", f"{there.url}/a", {}, None)
        await send("GET", f"{there.url}/a", {"user-agent": "mine"}, None)
    heads = [request.partition(b"\r\n\r\n")[0].split(b"\r\n") for request in there.requests]
    shared = {b"Host: " + there.url.removeprefix("http://").encode(), b"Accept: */*"}
    assert there.requests[0].endswith(b'\r\n\r\n{"f": 1}')
    assert heads[0][0] == b"POST /a%20b?c=d%2Fe HTTP/1.1"
    assert shared | {b"Content-Type: application/json", b"Cookie: ST=1", b"Content-Length: 8"} < set(heads[0])
    assert b"User-Agent: token-fulfillment-orchestrator" in heads[0]
    assert any(line.startswith(b"Accept-Encoding: gzip") for line in heads[0])
    assert b"Content-Length: 0" in heads[1]
    assert [line for line in heads[2] if line.lower().startswith(b"user-agent")] == [b"user-agent: mine"]
    assert not any(line.lower().startswith(b"content-length") for line in heads[2])


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (ok(b"abc"), b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", b"abcdefg"),
        (ok(gzip.compress(b"abc" * 99), b"Content-Encoding: gzip"), b"abc" * 99),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end" + b"HANG UP", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok(b"abc"), b"abc"),
        (ok(b"abc", b"Connection: close") + b"HANG UP", b"abc"),
        (ok(b"x" * 300_000), b"x" * 300_000),
    ],
    ids=["length", "chunked", "gzip", "no length", "interim", "close", "long"],
)
async def test_an_answer_is_read_to_its_end_however_it_comes(answer: bytes, body: bytes) -> None:
    async with peer(answer, ok(b"next")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (200, body)
        assert await get(send, f"{there.url}/a") == (200, b"next")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_an_answer_may_have_no_body(status: bytes) -> None:
    async with peer(b"HTTP/1.1 " + status + b"\r\n\r\n", ok(b"next")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (int(status[:3]), b"")
        assert await get(send, f"{there.url}/a") == (200, b"next")


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    moved = ok(b"", b"Location: /b", b"Set-Cookie: a=1; Path=/", b"Set-Cookie: b=2", status=b"302 Found")
    async with peer(moved, ok()) as there, open_transport(allowed) as send:
        reply = await send("GET", f"{there.url}/a", {}, None)
        await get(send, f"{there.url}/c")
    assert reply.status == 302
    assert reply.headers["location"] == "/b"
    assert {name: value.reveal() for name, value in reply.cookies.items()} == {"a": "1", "b": "2"}
    assert [request.split()[1] for request in there.requests] == [b"/a", b"/c"]
    assert b"cookie" not in there.requests[1].lower()


UNANSWERED = {"nothing": b"HANG UP", "half a head": b"HTTP/1.1 200 OK\r\nContent-Le" + b"HANG UP"}

BROKEN = {
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc" + b"HANG UP",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab" + b"HANG UP",
    "not HTTP": b"this is not HTTP\r\n\r\n",
    "not gzip": ok(b"not gzip", b"Content-Encoding: gzip"),
}


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        *[pytest.param("GET", answer, id=f"GET, {name}") for name, answer in BROKEN.items()],
        *[pytest.param("PUT", answer, id=f"PUT, {name}") for name, answer in (UNANSWERED | BROKEN).items()],
    ],
)
async def test_a_broken_answer_is_an_error_and_is_not_asked_for_again(method: str, answer: bytes) -> None:
    async with peer(ok(), answer, ok(b"next")) as there, open_transport(allowed) as send:
        await get(send, f"{there.url}/a")  # aiohttp may retry on a kept connection
        with pytest.raises(aiohttp.ClientError):
            await send(method, f"{there.url}/a", {}, None)
        assert len(there.requests) == 2
        assert await get(send, f"{there.url}/a") == (200, b"next")
        assert there.connections == 2


async def test_many_at_once_have_a_connection_each_and_get_their_own_answers() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.01)  # the work of the server: meanwhile the others send
            writer.write(ok(head.split()[1]))
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, open_transport(allowed) as send:

        async def ask(number: int) -> list[bytes]:
            return [(await get(send, f"{url}/{number}/{turn}"))[1] for turn in range(3)]

        answers = await asyncio.gather(*[ask(number) for number in range(40)])
    assert answers == [[b"/%d/%d" % (number, turn) for turn in range(3)] for number in range(40)]


@pytest.mark.parametrize("url", ["", "/a", "ftp://127.0.0.1/a", "http:///a", "http://127.0.0.1:x/a"])
async def test_an_invalid_address_is_refused(url: str) -> None:
    async with open_transport(allowed) as send:
        with pytest.raises(aiohttp.InvalidURL):
            await get(send, url)


async def test_a_fragment_is_not_sent() -> None:
    async with peer(ok()) as there, open_transport(allowed) as send:
        await get(send, f"{there.url}/a?b=c#d")
    assert there.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")


@pytest.mark.parametrize("headers", [{"X": "1\r\nY: 2"}, {"X": "1\nY: 2"}, {"X\r": "1"}, {"X": "\0"}])
async def test_no_header_can_be_smuggled_into_a_request(headers: dict[str, str]) -> None:
    async with peer() as there, open_transport(allowed) as send:
        with pytest.raises(ValueError, match="control character"):
            await send("GET", f"{there.url}/a", headers, None)
    assert there.requests == []


@pytest.mark.parametrize("way", ["straight", "session"], indirect=True)
def test_a_release_of_aiohttp_that_was_not_tested_is_named(way: str) -> None:
    notice = transport.untested()
    assert (
        notice is None
        if way == "straight"
        else notice
        == (
            f"aiohttp {aiohttp.__version__} was not tested: requests take about a third more CPU time; for full speed: "
            "pip install 'aiohttp==another*'"
        )
    )
