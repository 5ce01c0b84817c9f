"""Connections that are kept, closed, abandoned, or never made."""

from __future__ import annotations

import socket
import subprocess
import sys

import aiohttp
import anyio
import pytest

from states.http import direct, transport
from states.http.transport import open_transport
from tests.support.peer import allowed, get, ok, peer
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("way")


async def test_a_connection_is_kept_and_used_again() -> None:
    async with peer(*[ok(b"x")] * 5) as there, open_transport(allowed) as send:
        for _ in range(5):
            assert await get(send, f"{there.url}/a") == (200, b"x")
        assert there.connections == 1


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
        await until(lambda: there.ended)
        await anyio.sleep(0.01)  # turns of the loop, in which the client hears of it
        assert await get(send, f"{there.url}/a") == (200, b"next")


@pytest.mark.parametrize("way", ["straight"], indirect=True)  # aiohttp's session accepts it as one
async def test_unsolicited_data_is_not_a_response() -> None:
    unasked = ok(b"too slow", status=b"408 Request Timeout")
    async with peer(ok(b"first") + b"LATER" + unasked, ok(b"next")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (200, b"first")
        await there.said.wait()
        await anyio.sleep(0.01)  # turns of the loop, in which the client hears of it
        assert await get(send, f"{there.url}/a") == (200, b"next")
        assert there.connections == 2


async def test_the_response_to_an_abandoned_request_reaches_no_other_request() -> None:
    async with peer(b"", b"", ok(b"mine")) as there, open_transport(allowed) as send:
        for _ in range(2):
            with anyio.move_on_after(0.05):
                await get(send, f"{there.url}/late")
        assert await get(send, f"{there.url}/a") == (200, b"mine")
        assert there.connections == 3
        await until(lambda: there.ended >= 2)  # and the connections of the others were closed


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


SPEAKS_FIRST = """
import asyncio
import sys

import anyio
{imports}
from states.http import direct, transport


async def main() -> None:
    met = 0
    first = sys.argv[1].encode().decode("unicode_escape").encode()

    async def talk(reader, writer):
        nonlocal met
        met += 1
        writer.write(first)
        await writer.drain()
        await asyncio.sleep(60)  # longer than the test

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


@pytest.mark.parametrize("way", ["straight"], indirect=True)  # aiohttp's session closes them by a timer
async def test_a_connection_that_was_not_used_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "KEPT_S", 0.0)
    async with peer(ok(b"first"), ok(b"next")) as there, open_transport(allowed) as send:
        assert await get(send, f"{there.url}/a") == (200, b"first")
        assert await get(send, f"{there.url}/a") == (200, b"next")
        assert there.connections == 2
