"""The lease is checked before bytes are written, on every kind of connection."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from states.http.transport import open_transport
from tests.support.peer import BODIES, Lease, Peer, get, ok, peer, refused, secure_peer
from tests.support.tunnel import Tunnel

pytestmark = pytest.mark.usefixtures("way")


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
            await asyncio.sleep(0.05)  # it connects; a machine that is slower loses the lease before, which proves less
            lease.lost = True
            for one in waiting:
                one.close()
            server = await asyncio.start_server(there.talk, sock=deaf)
            async with server:
                await request
    assert there.requests == []


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
