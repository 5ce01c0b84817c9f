"""Witnesses of a campaign: which process sent each request, and which process owned each shard at that time.

The sandbox finds the process at the other end of each connection. A trigger in the store's own tables records every change of an
owner, so that no claim is missed between two looks.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import closing
from pathlib import Path
from weakref import WeakKeyDictionary

import asyncpg
import attrs
from aiohttp import web

from orchestrator.storage.lease import Owner
from states.sandbox import Sandbox

_SOCKET = re.compile(r"socket:\[(\d+)\]")


class WatchedSandbox(Sandbox):
    """A sandbox that knows which process has sent each request.

    ``pids`` are the processes to look at; ``requests`` has the time and the process of each.
    """

    pids: Callable[[], Collection[int]] = staticmethod(lambda: ())

    def application(self) -> web.Application:
        """The aiohttp application."""
        self.requests: list[tuple[float, int | None, str]] = []
        senders: WeakKeyDictionary[asyncio.BaseTransport, int | None] = WeakKeyDictionary()
        app = super().application()

        @web.middleware
        async def watch(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            at, transport = time.time(), request.transport
            if transport is not None:
                if transport not in senders:
                    senders[transport] = process_at(transport.get_extra_info("peername")[1], self.pids())
                self.requests.append((at, senders[transport], f"{request.method} {request.path}"))
            return await handler(request)

        app.middlewares.insert(0, watch)
        return app


def process_at(port: int, pids: Collection[int]) -> int | None:
    """The process that has a TCP socket on this local port, if it is one of ``pids``."""
    inode = None
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            inode = fields[9]
            break
    for pid in pids:
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                found = _SOCKET.fullmatch(os.readlink(f"/proc/{pid}/fd/{name}"))
                if found is not None and found[1] == inode:
                    return pid
        except OSError:
            continue  # the process, or the socket, is gone
    return None


@attrs.frozen
class Change:
    """A shard got this owner (or none) with this epoch."""

    at: float
    shard: int
    epoch: int
    pid: int | None


@attrs.frozen
class ClaimLog:
    """Records the owners of shards, in a store that exists."""

    store: str
    schema: str = "orchestrator"

    async def install(self) -> None:
        """Begin to record."""
        if self.store.startswith("sqlite:"):
            with closing(self._sqlite()) as db:
                insert = "INSERT INTO seen VALUES ((julianday('now') - 2440587.5) * 86400, NEW.shard, NEW.epoch, NEW.owner)"
                db.executescript(
                    "CREATE TABLE seen (at REAL, shard INTEGER, epoch INTEGER, owner TEXT);"
                    f"CREATE TRIGGER seen_new AFTER INSERT ON shards BEGIN {insert}; END;"
                    "CREATE TRIGGER seen_changed AFTER UPDATE ON shards WHEN OLD.epoch <> NEW.epoch OR OLD.owner IS NOT NEW.owner "
                    f"BEGIN {insert}; END;"
                )
            return
        db = await asyncpg.connect(self._server)
        try:
            await db.execute(
                f"SET search_path = {self.schema};"
                "CREATE TABLE seen (at float8, shard int, epoch int8, owner text);"
                "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"INSERT INTO {self.schema}.seen "
                "VALUES (extract(epoch FROM clock_timestamp()), NEW.shard, NEW.epoch, NEW.owner); RETURN NEW; END $$;"
                "CREATE TRIGGER seen_new AFTER INSERT ON shards FOR EACH ROW EXECUTE FUNCTION note();"
                "CREATE TRIGGER seen_changed AFTER UPDATE ON shards FOR EACH ROW "
                "WHEN (OLD.epoch <> NEW.epoch OR OLD.owner IS DISTINCT FROM NEW.owner) EXECUTE FUNCTION note();"
            )
        finally:
            await db.close()

    async def changes(self) -> list[Change]:
        """All changes so far, in order."""
        sql = "SELECT at, shard, epoch, owner FROM {} ORDER BY at, epoch"
        if self.store.startswith("sqlite:"):
            with closing(self._sqlite()) as db:
                found = db.execute(sql.format("seen")).fetchall()
        else:
            db = await asyncpg.connect(self._server)
            try:
                found = await db.fetch(sql.format(f"{self.schema}.seen"))
            finally:
                await db.close()
        return [
            Change(at, shard, epoch, None if owner is None else Owner.loads(owner).pid)
            for at, shard, epoch, owner in map(tuple, found)
        ]

    def _sqlite(self) -> sqlite3.Connection:
        return sqlite3.connect(self.store.removeprefix("sqlite:"), timeout=30)

    @property
    def _server(self) -> str:
        return re.sub(r"[?&]schema=\w+", "", self.store)


def owns(pid: int, at: float, changes: Collection[Change]) -> bool:
    """Whether a process owned a shard at this time."""
    owner: dict[int, int | None] = {}
    for change in changes:
        if change.at <= at:
            owner[change.shard] = change.pid
    return pid in owner.values()


def strays(
    sandbox: WatchedSandbox, thawed: Collection[tuple[int, float]], changes: Collection[Change]
) -> list[tuple[float, int | None, str]]:
    """Requests of processes after they were thawed, at times when they owned no shard.

    Args:
        thawed: Processes, and when they were thawed.
    """
    return [
        request
        for request in sandbox.requests
        for pid, since in thawed
        if request[1] == pid and request[0] > since and not owns(pid, request[0], changes)
    ]


def driven_again(pid: int, killed_at: float, changes: Collection[Change]) -> list[float]:
    """For each shard that a process owned when it was killed, the seconds until another worker had it."""
    owner: dict[int, int | None] = {}
    found = []
    for change in changes:
        if change.at <= killed_at:
            owner[change.shard] = change.pid
        elif owner.get(change.shard) == pid and change.pid not in {None, pid}:
            found.append(change.at - killed_at)
            owner[change.shard] = change.pid
    return found
