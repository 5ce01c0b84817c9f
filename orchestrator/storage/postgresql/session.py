"""A connection that outlives its server: work is repeated after a lost connection, for a limited time.

Work may have been committed although its answer was lost. So it must be safe to repeat:

* Before anything is repeated, the old server process must be gone. Otherwise it could still commit, after later work.
* Work that is not the same when it is repeated (a claim, a new run) looks for its own traces if ``Link.repeated`` is set.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

import anyio
import attrs

from orchestrator.errors import StoreError
from orchestrator.storage.base import WallClock
from orchestrator.storage.postgresql.address import Address
from orchestrator.storage.postgresql.opening import Connection, connect
from orchestrator.storage.postgresql.problems import CONFLICTS, explained, is_lost, reason

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("orchestrator.storage")

PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
"""Between two attempts."""


@attrs.frozen
class Link:
    """A connection, for one attempt at some work."""

    db: Connection
    repeated: bool
    """An earlier attempt may have been committed."""
    clock: WallClock | None

    async def now(self) -> float:
        """Unix time, by the clock of the database unless a test replaces it."""
        if self.clock is not None:
            return self.clock.now()
        return float(await self.db.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8"))


@attrs.frozen
class _Backend:
    """A server process; its start tells it from a later one with the same id."""

    pid: int
    started: datetime

    @classmethod
    async def of(cls, db: Connection) -> _Backend:
        row = await db.fetchrow("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        assert row is not None
        return cls(row["pid"], row["backend_start"])

    async def end(self, db: Connection) -> bool:
        """Ask it to end; ``True``: it has ended."""
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"
        return await db.fetchrow(sql, self.pid, self.started) is None


class Outage:
    """Whether the server answers; all sessions of a store share it.

    Args:
        where: Names the store in messages.
        patience_s: How long an outage may last before work fails.
    """

    def __init__(self, where: str, patience_s: float) -> None:
        self._where = where
        self._patience_s = patience_s
        self._given_up = False
        self._since: float | None = None
        """Start of the first work that failed since the server last answered."""

    def begin(self, at: float, error: Exception) -> None:
        """Work that began at this steady time has lost its connection."""
        if self._since is None:
            self._since = at
            _log.warning("%s does not answer (%s); waiting for up to %g s", self._where, reason(error), self._patience_s)

    def end(self) -> None:
        """The server has answered."""
        if self._since is not None:
            _log.warning("%s answers again after %.1f s", self._where, time.monotonic() - self._since)
            self._since = None

    def give_up(self) -> None:
        """From now on, an outage may not last."""
        self._given_up = True

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    @property
    def is_hopeless(self) -> bool:
        """Whether nobody wants to wait for its end."""
        return self._given_up and self._since is not None

    @property
    def is_over_limit(self) -> bool:
        """Whether it has lasted too long."""
        return self.is_hopeless or self.seconds > self._patience_s


class Session:
    """One connection for many callers, one after another.

    Args:
        patience_s: How long a server may be unreachable, or a lock be held, before the work fails.
        outage: That of another session of the same store; ``None``: this is the first.
    """

    def __init__(self, address: Address, patience_s: float, clock: WallClock | None, outage: Outage | None = None) -> None:
        self.where = f"the store {address.shown}"
        self._address = address
        self._patience_s = patience_s
        self._clock = clock
        self._db: Connection | None = None
        self._backend: _Backend | None = None
        """The server process of the latest connection."""
        self._turn = asyncio.Lock()
        self._attempt: asyncio.Timeout | None = None
        """The attempt that is under way."""
        self._attempted = 0.0
        """When it began."""
        self.outage = outage or Outage(self.where, patience_s)

    async def open(self) -> Connection:
        """Connect now; a failure is final."""
        try:
            return await self._connected(self._address.connect_limit_s)
        except Exception as error:
            raise explained(self.where, error) from error

    @property
    def silent_s(self) -> float:
        """Seconds for which the server has not answered work that waits for it."""
        waited = 0.0 if self._attempt is None else time.monotonic() - self._attempted
        return max(waited, self.outage.seconds)

    def interrupt(self) -> None:
        """Break off the attempt that is under way, as if the connection were lost."""
        if self._attempt is None:
            return
        if self._db is not None:
            self._db.terminate()  # its waiting statement fails; a cancelled one would wait for the server again
        elif not self._attempt.expired():
            self._attempt.reschedule(asyncio.get_running_loop().time())

    async def close(self) -> None:
        async with self._turn:
            if self._db is not None:
                try:
                    await self._db.close(timeout=1.0)
                except Exception:  # noqa: BLE001  # the server may be gone
                    self._db.terminate()
                self._db = None

    async def read(self, work: Callable[Concatenate[Link, P], Awaitable[R]], *args: P.args, **more: P.kwargs) -> R:
        """Do ``work``, again after a lost connection. It may be cancelled."""
        return await self._do(lambda link: work(link, *args, **more))

    async def write(self, work: Callable[Concatenate[Link, P], Awaitable[R]], *args: P.args, **more: P.kwargs) -> R:
        """Do ``work`` to its end, even if the caller is cancelled."""
        # The caller must learn the result: a claim unknown to its process would be held until the lease expires.
        with anyio.CancelScope(shield=True):
            result = await self._do(lambda link: work(link, *args, **more))
        return result  # noqa: RET504  # for a type checker, the scope may swallow an exception

    async def transaction(self, work: Callable[Concatenate[Link, P], Awaitable[R]], *args: P.args, **more: P.kwargs) -> R:
        """Do ``work`` in a transaction, as :meth:`write` does."""

        async def in_transaction(link: Link) -> R:
            async with link.db.transaction():
                return await work(link, *args, **more)

        return await self.write(in_transaction)

    async def _do(self, work: Callable[[Link], Awaitable[R]]) -> R:
        async with self._turn:
            began, pause_s, repeated = time.monotonic(), PAUSE_S, False
            while True:
                if self.outage.is_hopeless:
                    raise StoreError(f"{self.where} does not answer; start the server, then try again (nothing is lost)")
                try:
                    result = await self._try(work, repeated)
                except Exception as error:
                    if is_lost(error):
                        self._disconnect()
                        self.outage.begin(began, error)
                        repeated = True
                        if self.outage.is_over_limit:
                            raise StoreError(self._away(error)) from error
                    elif not isinstance(error, CONFLICTS):
                        raise explained(self.where, error) from error
                    elif time.monotonic() > began + self._patience_s:
                        raise StoreError(self._locked(error)) from error
                else:
                    self.outage.end()
                    return result
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _try(self, work: Callable[[Link], Awaitable[R]], repeated: bool) -> R:
        """One attempt, which can be interrupted."""
        try:
            async with asyncio.timeout(None) as self._attempt:
                self._attempted = time.monotonic()
                db = await self._connected(self._address.connect_limit_s)
                return await work(Link(db, repeated, self._clock))
        finally:
            self._attempt = None

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.terminate()
            self._db = None

    def _away(self, error: Exception) -> str:
        waited_s = min(self._patience_s, round(self.outage.seconds, 1))
        return (
            f"{self.where} has not answered for {waited_s:g} s ({reason(error)}); start the server, then try again "
            "(nothing is lost)"
        )

    def _locked(self, error: Exception) -> str:
        return f"{self.where} has been locked for {self._patience_s:g} s ({reason(error)}); end that transaction, then try again"

    async def _connected(self, limit_s: float) -> Connection:
        if self._db is not None and not self._db.is_closed():
            return self._db
        db = await connect(self._address, self._patience_s, limit_s)
        try:
            async with asyncio.timeout(self._patience_s):
                while self._backend is not None and not await self._backend.end(db):  # noqa: ASYNC110  # the server sets no event
                    await asyncio.sleep(PAUSE_S)
            self._backend = await _Backend.of(db)
        except BaseException:
            db.terminate()
            raise
        self._db = db
        return db
