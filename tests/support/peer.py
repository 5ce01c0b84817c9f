"""A server that sends given bytes, over plain and encrypted sockets, and a lease that a test ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from states.http.transport import Transport


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
                    await asyncio.sleep(0.02)  # the client has read the answer, and keeps the connection
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


def ok(body: bytes = b"", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = (b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def allowed() -> None:
    """A lease that never expires."""


async def get(send: Transport, url: str) -> tuple[int, bytes]:
    reply = await send("GET", url, {}, None)
    return reply.status, reply.body


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


async def refused(send: Transport, method: str, url: str, body: bytes | None) -> None:
    with pytest.raises(LeaseLostError):
        await send(method, url, {}, body)


@asynccontextmanager
async def secure_peer(certificate: Path, *answers: bytes) -> AsyncIterator[Peer]:
    there, context = Peer(*answers), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(there.talk, "127.0.0.1", 0, ssl=context)
    async with server:
        there.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        yield there
