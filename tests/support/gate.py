"""A relay before a server that can stop accepting: the kernel then keeps new connections waiting, as for a server that accepts
slowly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """Passes one request per connection, so that each request has to connect. ``idle`` counts the open connections on
    which nothing was written yet, ``silent`` the closed ones on which nothing was ever written.

    Args:
        port: Port of the server behind it.
        shuts_after: Stop accepting before the response to this many requests is passed back.
    """

    def __init__(self, port: int, shuts_after: int) -> None:
        self._port = port
        self._left = shuts_after
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self._listener.setblocking(False)
        self._fillers: list[socket.socket] = []
        self._ports: set[int] = set()
        """Ports of the fillers, including closed ones."""
        self._accepting: asyncio.Task[None] | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.idle = 0
        self.silent = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def shut(self) -> None:
        """Accept no connection, and fill the queue of the listener."""
        if self._accepting is not None:
            self._accepting.cancel()
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())
            self._fillers.append(filler)
            self._ports.add(filler.getsockname()[1])

    def open(self) -> None:
        """Accept again, beginning with the waiting connections."""
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._accepting = asyncio.create_task(self._accept())

    @property
    def waiting(self) -> bool:
        """Whether a client is waiting for its connection."""
        port = f":{self._listener.getsockname()[1]:04X}"
        with open("/proc/net/tcp", encoding="ascii") as table:
            rows = [line.split() for line in table]
        mine = {f":{port:04X}" for port in self._ports}
        # 02 is SYN_SENT.
        return any(row[3] == "02" and row[2].endswith(port) and row[1][-5:] not in mine for row in rows[1:])

    async def _accept(self) -> None:
        while True:
            accepted, address = await asyncio.get_running_loop().sock_accept(self._listener)
            if address[1] in self._ports:
                accepted.close()
                continue
            task = asyncio.create_task(self._pass_on(*await asyncio.open_connection(sock=accepted)))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.idle += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            self.silent += 1
            writer.close()
            return
        finally:
            self.idle -= 1
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        back.write(head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n" + await reader.readexactly(length))
        answer = await there.read()
        self._left -= 1
        if self._left == 0:
            self.shut()
        with contextlib.suppress(ConnectionError):
            writer.write(answer)
            await writer.drain()
        back.close()
        writer.close()

    async def close(self) -> None:
        """Release the port."""
        if self._accepting is not None:
            self._accepting.cancel()
        for filler in self._fillers:
            filler.close()
        self._listener.close()
        for task in self._passing:
            task.cancel()
        if self._passing:
            await asyncio.wait(self._passing)


@asynccontextmanager
async def gate(url: str, *, shuts_after: int) -> AsyncIterator[Gate]:
    """A gate before a server on this machine."""
    one = Gate(int(url.rpartition(":")[2]), shuts_after)
    one.open()
    try:
        yield one
    finally:
        await one.close()
