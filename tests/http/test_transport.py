"""Requests over real sockets: directly on aiohttp's connections, and through its session."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import socket
import ssl
import subprocess
import sys
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import pytest

from orchestrator import AmbiguousError, PermanentError, StepError, TransientError
from states.http import transport
from states.http.masking import Masking
from states.http.reply import Reply
from states.http.session import Session
from states.http.transport import Transport, open_transport


class Peer:
    """A server that sends given bytes: one response after the other, on any connection."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.ended = 0
        self.said = asyncio.Event()
        """Set when the delayed response was sent."""
        self.url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
                self.requests.append(head + await reader.readexactly(length))
                answer, _, later = self.answers.pop(0).partition(b"LATER")
                writer.write(answer.removesuffix(b"HANG UP").removesuffix(b"RESET"))
                await writer.drain()
                if later:
                    await asyncio.sleep(0.02)
                    writer.write(later)
                    self.said.set()
                if answer == b"RESET":
                    writer.transport.abort()
                if answer.endswith((b"HANG UP", b"RESET")):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed the connection
        finally:
            self.ended += 1
            writer.close()


@asynccontextmanager
async def peer(*answers: bytes) -> AsyncIterator[Peer]:
    one = Peer(*answers)
    server = await asyncio.start_server(one.talk, "127.0.0.1", 0)
    async with server:
        one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield one


@pytest.fixture(params=["straight", "session"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setattr(transport, "TESTED", aiohttp.__version__ if name == "straight" else "another")
    return name


def ok(body: bytes = b"", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = (b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def allowed() -> None:
    """A lease that never expires."""


def unexpected(what: str, reply: Reply) -> StepError:
    """A vendor without error codes."""
    return PermanentError(f"{what}: {reply.status}")


async def get(send: Transport, url: str) -> tuple[int, bytes]:
    reply = await send("GET", url, {}, None)
    return reply.status, reply.body


async def test_a_request_says_what_it_was_given_and_what_http_asks_for() -> None:
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


async def test_a_connection_is_kept_and_used_again() -> None:
    async with peer(*[ok(b"x")] * 5) as there, open_transport(allowed) as send:
        for _ in range(5):
            assert await get(send, f"{there.url}/a") == (200, b"x")
        assert there.connections == 1


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


@pytest.mark.parametrize("end", [b"HANG UP", b"RESET"])
async def test_a_get_on_a_kept_connection_that_is_closed_without_notice_is_sent_again_on_a_fresh_one(end: bytes) -> None:
    async with peer(ok(), ok(), end, ok(b"again"), ok(b"next")) as there, open_transport(allowed) as send:
        await get(send, f"{there.url}/a")
        await get(send, f"{there.url}/b")
        assert await get(send, f"{there.url}/c?d=e") == (200, b"again")
        assert await get(send, f"{there.url}/f") == (200, b"next")
    assert [request.split()[1] for request in there.requests] == [b"/a", b"/b", b"/c?d=e", b"/c?d=e", b"/f"]


@pytest.mark.parametrize("way", ["straight"], indirect=True)  # aiohttp's session does not distinguish them
async def test_a_get_on_a_fresh_connection_is_not_sent_again() -> None:
    async with peer(b"HANG UP", ok(b"next")) as there, open_transport(allowed) as send:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await get(send, f"{there.url}/a")
        assert len(there.requests) == 1


@pytest.mark.parametrize("way", ["straight"], indirect=True)  # aiohttp's session may use another kept connection
async def test_a_get_is_sent_again_once_though_all_kept_connections_are_dead() -> None:
    async with peer(*[ok()] * 3, *[b"HANG UP"] * 5) as there, open_transport(allowed) as send:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(get, send, f"{there.url}/a")
        assert there.connections == 3
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await get(send, f"{there.url}/b")
        assert [request.split()[1] for request in there.requests].count(b"/b") == 2


async def test_a_connection_that_was_closed_while_it_was_kept_is_not_used() -> None:
    async with peer(ok(b"first") + b"HANG UP", ok(b"next")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (200, b"first")
        while not there.ended:
            await anyio.sleep(0)
        await anyio.sleep(0.01)
        assert await get(send, f"{there.url}/a") == (200, b"next")


@pytest.mark.parametrize("way", ["straight"], indirect=True)  # aiohttp's session accepts it as one
async def test_unsolicited_data_is_not_a_response() -> None:
    unasked = ok(b"too slow", status=b"408 Request Timeout")
    async with peer(ok(b"first") + b"LATER" + unasked, ok(b"next")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (200, b"first")
        await there.said.wait()
        await anyio.sleep(0.02)
        assert await get(send, f"{there.url}/a") == (200, b"next")
        assert there.connections == 2


async def test_the_response_to_an_abandoned_request_reaches_no_other_request() -> None:
    async with peer(b"", b"", ok(b"mine")) as there, open_transport(allowed) as send:
        for _ in range(2):
            with anyio.move_on_after(0.05):
                await get(send, f"{there.url}/late")
        assert await get(send, f"{there.url}/a") == (200, b"mine")
        assert there.connections == 3
        while there.ended < 2:  # and the connections of the others were closed
            await anyio.sleep(0.001)


async def test_many_at_once_have_a_connection_each_and_get_their_own_answers() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.01)
            writer.write(ok(head.split()[1]))
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, open_transport(allowed) as send:

        async def ask(number: int) -> list[bytes]:
            return [(await get(send, f"{url}/{number}/{turn}"))[1] for turn in range(3)]

        answers = await asyncio.gather(*[ask(number) for number in range(40)])
    assert answers == [[b"/%d/%d" % (number, turn) for turn in range(3)] for number in range(40)]


async def test_no_server_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    async with open_transport(allowed) as send:
        with pytest.raises(aiohttp.ClientConnectorError) as failed:
            await get(send, url)
    assert failed.value.host == "127.0.0.1"


async def test_a_server_that_does_not_accept_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", aiohttp.ClientTimeout(total=None, sock_connect=0.1))
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:  # they fill its queue
            one.setblocking(False)
            one.connect_ex(address)
        async with open_transport(allowed) as send:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await get(send, f"http://127.0.0.1:{address[1]}/")
        for one in waiting:
            one.close()


class LeaseLostError(Exception):
    """Replaces the engine's error."""


class Lease:
    """A lease that a test ends; ``after``: it ends by itself after this many checks."""

    def __init__(self, after: int | None = None) -> None:
        self.left = after
        self.lost = False

    def __call__(self) -> None:
        if self.left is not None:
            self.left -= 1
        if self.lost or self.left == -1:
            self.lost = True
            raise LeaseLostError


BODIES = pytest.mark.parametrize(("method", "body"), [("GET", None), ("POST", b"{}"), ("DELETE", None), ("PUT", b"x" * 100_000)])


@BODIES
async def test_a_lease_that_is_lost_while_connecting_lets_nothing_be_written(method: str, body: bytes | None) -> None:
    lease, there = Lease(), Peer(ok())
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:  # they fill its queue, so that our connection has to wait
            one.setblocking(False)
            one.connect_ex(address)
        async with open_transport(lease) as send, asyncio.TaskGroup() as tasks:
            request = tasks.create_task(refused(send, method, f"http://127.0.0.1:{address[1]}/a", body))
            await asyncio.sleep(0.05)
            lease.lost = True
            for one in waiting:
                one.close()
            server = await asyncio.start_server(there.talk, sock=deaf)
            async with server:
                await request
    assert there.requests == []


async def refused(send: Transport, method: str, url: str, body: bytes | None) -> None:
    with pytest.raises(LeaseLostError):
        await send(method, url, {}, body)


@BODIES
async def test_a_lease_is_checked_for_a_kept_connection_too(method: str, body: bytes | None) -> None:
    lease = Lease()
    async with peer(ok(b"x"), ok(b"y")) as there, open_transport(lease) as send:
        assert await get(send, f"{there.url}/a") == (200, b"x")
        lease.lost = True
        await refused(send, method, f"{there.url}/a", body)
    assert len(there.requests) == 1


@pytest.mark.parametrize("way", ["session"], indirect=True)  # where another task writes the body
async def test_a_lease_that_is_lost_between_the_connection_and_the_body_lets_nothing_be_written() -> None:
    async with peer(ok()) as there, open_transport(Lease(after=1)) as send:
        await refused(send, "POST", f"{there.url}/a", b"{}")
    assert there.requests == []


@pytest.mark.parametrize("url", ["", "/a", "ftp://127.0.0.1/a", "http:///a", "http://127.0.0.1:x/a"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    async with open_transport(allowed) as send:
        with pytest.raises(aiohttp.InvalidURL):
            await get(send, url)


async def test_a_fragment_is_not_sent() -> None:
    async with peer(ok()) as there, open_transport(allowed) as send:
        await get(send, f"{there.url}/a?b=c#d")
    assert there.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")


async def test_no_header_can_be_smuggled_into_a_request() -> None:
    async with peer() as there, open_transport(allowed) as send:
        with pytest.raises(ValueError, match="control character"):
            await send("GET", f"{there.url}/a", {"X": "1\r\nY: 2"}, None)
    assert there.requests == []


@asynccontextmanager
async def secure_peer(certificate: Path, *answers: bytes) -> AsyncIterator[Peer]:
    there, context = Peer(*answers), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(there.talk, "127.0.0.1", 0, ssl=context)
    async with server:
        there.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        yield there


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return lambda address: monkeypatch.setenv("HTTPS_PROXY", address)


class Tunnel:
    """A proxy that requires a password."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        writer.write(self.answer)
        if b" 200 " in self.answer:
            there, back = await asyncio.open_connection("127.0.0.1", int(head.split()[1].rpartition(b":")[2]))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pour(reader, back))
                both.create_task(self._pour(there, writer))
        writer.close()

    @staticmethod
    async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(data)
        writer.close()


@asynccontextmanager
async def tunnel(answer: bytes) -> AsyncIterator[tuple[Tunnel, str]]:
    one = Tunnel(answer)
    server = await asyncio.start_server(one.talk, "127.0.0.1", 0)
    async with server:
        yield one, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_untrusted_certificate(certificate: Path) -> None:
    async with secure_peer(certificate, ok()) as there, open_transport(allowed) as send:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(send, f"{there.url}/a")
    assert there.requests == []


async def test_an_encrypted_connection_is_kept_too(trusted: Path) -> None:
    async with secure_peer(trusted, ok(b"x"), ok(b"y")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (200, b"x")
        assert await get(send, f"{there.url}/a") == (200, b"y")
        assert there.connections == 1


@BODIES
async def test_a_lease_that_is_lost_during_the_handshake_lets_nothing_be_written(
    trusted: Path, proxy: Callable[[str], None], method: str, body: bytes | None
) -> None:
    lease = Lease()

    class Slow(Tunnel):
        async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            lease.lost = True
            await super().talk(reader, writer)

    async with secure_peer(trusted, ok()) as there, open_transport(lease) as send:
        between = Slow(b"HTTP/1.1 200 Connection established\r\n\r\n")
        server = await asyncio.start_server(between.talk, "127.0.0.1", 0)
        async with server:
            proxy(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await refused(send, method, f"{there.url}/a", body)
    assert len(between.asked) == 1
    assert there.requests == []


@pytest.mark.parametrize("address", ["{}", "http://{}", "http://me:p%40ss@{}"])
async def test_a_proxy_carries_what_it_cannot_read(trusted: Path, proxy: Callable[[str], None], address: str) -> None:
    async with (
        secure_peer(trusted, ok(b"x"), ok(b"y")) as there,
        tunnel(b"HTTP/1.1 200 Connection established\r\n\r\n") as (between, where),
        open_transport(allowed) as send,
    ):
        proxy(address.format(where))
        assert await get(send, f"{there.url}/a") == (200, b"x")
        assert await get(send, f"{there.url}/a") == (200, b"y")
        assert there.connections == len(between.asked) == 1
        head = between.asked[0].split(b"\r\n")
    assert head[0] == b"CONNECT " + there.url.removeprefix("https://").encode() + b" HTTP/1.1"
    assert b"Host: " + there.url.removeprefix("https://").encode() in head
    secret = b"Proxy-Authorization: Basic " + base64.b64encode(b"me:p@ss")
    assert (secret in head) is ("me:" in address)
    assert not any(b"Proxy-Auth" in request for request in there.requests)


async def test_a_proxy_is_not_for_this_machine_and_not_for_whom_it_is_not_wanted(
    trusted: Path, proxy: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy("http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "localhost,.example.com")
    async with peer(ok(b"x")) as here, secure_peer(trusted, ok(b"y")) as there, open_transport(allowed) as send:
        assert await get(send, f"{here.url}/a") == (200, b"x")
        assert await get(send, f"{there.url}/a") == (200, b"y")


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"503 Service Unavailable"])
async def test_a_proxy_that_refuses(proxy: Callable[[str], None], status: bytes) -> None:
    async with tunnel(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n") as (_, where), open_transport(allowed) as send:
        proxy(f"http://{where}")
        with pytest.raises(aiohttp.ClientHttpProxyError) as failed:
            await get(send, "https://api.example.com/a")
    assert failed.value.status == int(status[:3])


async def test_a_proxy_that_is_not_there(proxy: Callable[[str], None]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy(f"http://127.0.0.1:{unused.getsockname()[1]}")
    async with open_transport(allowed) as send:
        with pytest.raises(aiohttp.ClientProxyConnectionError):
            await get(send, "https://api.example.com/a")


@pytest.mark.parametrize("address", ["socks5://127.0.0.1:1080", "http://", "http://127.0.0.1:x"])
async def test_what_is_no_proxy_is_refused(proxy: Callable[[str], None], address: str) -> None:
    proxy(address)
    async with open_transport(allowed) as send:
        with pytest.raises(aiohttp.InvalidURL, match="HTTPS_PROXY"):
            await get(send, "https://api.example.com/a")


TOKEN = b"abcdef" * 2
BOMB = gzip.compress(bytes(200_000_000))


@pytest.mark.parametrize(
    "answer",
    [
        ok(BOMB, b"Content-Encoding: gzip"),
        ok(bytes(transport.MOST_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"80000\r\n" + bytes(1 << 19) + b"\r\n" + (b"80000\r\n" + bytes(1 << 19) + b"\r\n") * 20,
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(transport.MOST_BYTES + 1),
    ],
    ids=["gzip", "length", "chunked", "no length"],
)
async def test_an_answer_without_end_is_given_up_at_a_limit(answer: bytes) -> None:
    async with peer(answer, ok(b"next")) as there, open_transport(allowed) as send:
        with pytest.raises(transport.AnswerTooLongError):
            await get(send, f"{there.url}/a")
        assert await get(send, f"{there.url}/a") == (200, b"next")


async def test_no_more_than_the_limit_is_ever_decompressed() -> None:
    async with peer(ok(BOMB, b"Content-Encoding: gzip")) as there, open_transport(allowed) as send:
        tracemalloc.start()
        try:
            with pytest.raises(transport.AnswerTooLongError):
                await get(send, f"{there.url}/a")
            assert tracemalloc.get_traced_memory()[1] < 3 * transport.MOST_BYTES
        finally:
            tracemalloc.stop()


async def test_a_long_answer_within_the_limit_is_read() -> None:
    body = bytes(range(256)) * (transport.MOST_BYTES // 256)
    async with peer(ok(gzip.compress(body, 1), b"Content-Encoding: gzip")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (200, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"220 mail.example.com ESMTP Bearer " + TOKEN + b"\r\n",
    ],
    ids=["a long header", "many headers", "not HTTP"],
)
async def test_a_head_that_cannot_be_read_is_an_error_that_repeats_nothing(answer: bytes) -> None:
    async with peer(answer) as there, open_transport(allowed) as send:
        session = Session(send, allowed, refuse=unexpected, masking=Masking())
        with pytest.raises(AmbiguousError, match="ask: the answer is not HTTP, or its headers are too long") as caught:
            await session.send("ask", "POST", f"{there.url}/a", headers={"Authorization": f"Bearer {TOKEN.decode()}"}, body=b"{}")
    assert TOKEN.decode() not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("way", ["straight"], indirect=True)
async def test_interim_answers_come_to_an_end() -> None:
    async with peer(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000) as there, open_transport(allowed) as send:
        with pytest.raises(transport.NotHttpError):
            await get(send, f"{there.url}/a")


@pytest.mark.parametrize(("method", "cls"), [("GET", TransientError), ("POST", AmbiguousError)])
async def test_a_request_whose_answer_is_too_long_may_have_had_its_effect(method: str, cls: type[Exception]) -> None:
    async with peer(ok(BOMB, b"Content-Encoding: gzip")) as there, open_transport(allowed) as send:
        with pytest.raises(TransientError, match="ask: the answer is longer than 8 MB") as caught:
            await Session(send, allowed, refuse=unexpected, masking=Masking()).send("ask", method, f"{there.url}/a")
        assert type(caught.value) is cls


SPEAKS_FIRST = """
import asyncio
import sys

import anyio
{imports}
from states.http import transport


async def main() -> None:
    met = 0
    first = sys.argv[1].encode().decode("unicode_escape").encode()

    async def talk(reader, writer):
        nonlocal met
        met += 1
        writer.write(first)
        await writer.drain()
        await asyncio.sleep(60)

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = "http://127.0.0.1:%d/a" % server.sockets[0].getsockname()[1]
    async with transport.open_transport(lambda: None) as send:
        with anyio.move_on_after(20):
            try:
                reply = await send("GET", url, {{}}, None)
                print(reply.status, reply.body, met)
            except Exception as error:
                print(type(error).__name__, met)


{run}
"""
LOOPS = {"asyncio": ("", "asyncio.run(main())"), "uvloop": ("import uvloop", "uvloop.run(main())")}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("way", ["straight"], indirect=True)
@pytest.mark.parametrize(
    ("first", "outcome"),
    [
        (r"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", "503 b'busy' 1"),
        (r"SSH-2.0-OpenSSH_9.6\r\n", "NotHttpError 1"),
    ],
    ids=["HTTP", "another protocol"],
)
def test_a_server_that_speaks_first_is_connected_to_once(first: str, outcome: str, loop: str) -> None:
    imports, run = LOOPS[loop]
    if imports:
        pytest.importorskip("uvloop")
    command = [sys.executable, "-c", SPEAKS_FIRST.format(imports=imports, run=run), first]
    assert subprocess.run(command, check=False, capture_output=True, text=True, timeout=60).stdout.strip() == outcome


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
