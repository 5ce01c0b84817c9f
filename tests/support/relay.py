"""A relay between a client and a server, which loses connections and answers when a test says so."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

TLS_REQUEST = bytes.fromhex("0000000804d2162f")
"""The message by which a client of PostgreSQL asks for TLS."""


class Relay:
    """Listens on loopback, and passes on what it gets."""

    def __init__(self, socket: str, tls: ssl.SSLContext | None) -> None:
        self.port = 0
        self.deaf_after: bytes | None = None
        """Drop the answers of the server as soon as the client has sent this."""
        self._deaf = False
        self.shut = False
        """Whether new connections are closed at once."""
        self._socket = socket
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break all connections to the client. The server does not notice while it is at work."""
        self._deaf, self.deaf_after = False, None
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        if self.shut:
            writer.transport.abort()
            return
        if self._tls is not None:
            assert await reader.readexactly(len(TLS_REQUEST)) == TLS_REQUEST
            writer.write(b"S")
            try:
                await writer.start_tls(self._tls)
            except (OSError, ssl.SSLError):
                return  # the client refused the certificate
        behind, before = await asyncio.open_unix_connection(self._socket)
        self._writers.add(writer)
        for source, target, answers in ((reader, before, False), (behind, writer, True)):
            task = asyncio.get_running_loop().create_task(self._pass(source, target, answers))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, answers: bool) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if not answers and self.deaf_after is not None and self.deaf_after in data:
                    self._deaf = True
                if not (answers and self._deaf):
                    target.write(data)
                    await target.drain()
        target.close()

    async def close(self) -> None:
        """Close all connections."""
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def relay(socket: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """Relay to a server that listens on a Unix socket, with TLS on the side of the client if a context is given."""
    made = Relay(socket, tls)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()
