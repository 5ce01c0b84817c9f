"""The connections to one file: transactions, locks and reads."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from orchestrator.errors import StoreError, StoreLostError
from orchestrator.storage.lease import Owner, is_gone, this_process
from orchestrator.storage.sqlite import problems
from orchestrator.storage.sqlite.opening import connections, identities, make_private_file
from orchestrator.storage.sqlite.problems import explained, is_busy
from orchestrator.storage.sqlite.writing import Writer

P = ParamSpec("P")
R = TypeVar("R")

BUSY_POLL_S = 0.0005
"""Much shorter than a commit: with 5 ms, two processes on one file wrote less than one."""

LOOK_FOR_OTHERS_S = 0.2
"""Each look costs the writer's thread a wait for the interpreter's lock."""


class _OtherWriters:
    """Whether other connections write to the file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.exist = False
        self._db = db
        self._next = 0.0
        self._version = self._data_version()

    def look(self) -> None:
        """Compare the version of the data with that of the look before. Called by the thread that writes."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LOOK_FOR_OTHERS_S
            before, self._version = self._version, self._data_version()
            self.exist = self._version != before

    def _data_version(self) -> int:
        # Commits of this connection do not change it.
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        return version


class Database:
    """One connection writes, another one reads. The writer's thread and the event loop share the first: the loop uses it only
    while that thread is idle."""

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self.path = path
        self.where = f"the store {path}"
        self.thread = Writer()
        self._writer = writer
        self._reader = reader
        self._files = identities(path)
        """Identities of the files that commits write to; compared with those at the path."""
        self._reading = anyio.CapacityLimiter(1)
        self._others = _OtherWriters(writer)

    @property
    def is_shared(self) -> bool:
        """Whether other processes write to the file, too."""
        return self._others.exist

    @classmethod
    def open(cls, path: Path, *, create: bool) -> Database:
        """Open the file; it is created (mode 0600) if ``create`` says so. Blocks."""
        path = path.expanduser()
        with explained(path):
            if create:
                make_private_file(path)
            elif not path.exists():
                raise StoreError(f"there is no store at {path}: nothing has been run with it yet")
            return cls(path, *connections(path))

    async def close(self) -> None:
        await self.thread.run(self._writer.close)
        self.thread.close()
        await anyio.to_thread.run_sync(self._reader.close, limiter=self._reading)

    async def read(self, work: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **more: P.kwargs) -> R:
        """Run ``work`` with the reading connection, in a thread."""

        def read() -> R:
            with explained(self.path, self._holder):
                return work(self._reader, *args, **more)

        return await anyio.to_thread.run_sync(read, limiter=self._reading)

    async def write(self, work: Callable[Concatenate[sqlite3.Connection, P], R], *args: P.args, **more: P.kwargs) -> R:
        """Run ``work`` as one transaction in the writer's thread."""
        # The caller must learn the result: a claim unknown to its process would be held until the lease expires.
        with anyio.CancelScope(shield=True):
            result = await self.thread.run(partial(self.transaction, lambda db: work(db, *args, **more)))
        return result  # noqa: RET504  # for a type checker, the scope may swallow an exception

    def transaction(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Run ``work`` as one transaction. Blocks."""
        with explained(self.path, self._holder):
            # IMMEDIATE: take the write lock before reading the data that the write depends on.
            self._locking(lambda: self._writer.execute("BEGIN IMMEDIATE"), wait_s=problems.BUSY_TIMEOUT_S)
            result = self._in_transaction(work)
            self._in_transaction(lambda db: db.execute("COMMIT"))
            self._check_files()
            return result

    def commit(self, work: Callable[[sqlite3.Connection], R], *, wait: bool) -> R | None:
        """Run ``work``, which commits by itself; ``None``: another process is writing, and we do not ``wait``. Blocks."""
        with explained(self.path, self._holder):
            try:
                result = self._locking(lambda: self._in_transaction(work), wait_s=problems.BUSY_TIMEOUT_S if wait else 0.0)
            except sqlite3.OperationalError as error:
                if wait or not is_busy(error):
                    raise
                return None
            self._check_files()
            return result

    async def rescue(self) -> str:
        """Copy the data through the open connection, which still reaches a deleted file; return the new path."""
        return await anyio.to_thread.run_sync(self._rescue, limiter=self._reading)

    def _rescue(self) -> str:
        path = self.path.with_name(f"{self.path.name}.rescued-{os.getpid()}")
        with explained(path):
            make_private_file(path)
            target = sqlite3.connect(path)
            try:
                self._reader.backup(target)
                # Our run has stopped: release its lease, so that the copy can be used at once.
                target.execute("UPDATE shards SET owner = NULL WHERE owner = ?", (this_process().dumps(),))
                target.commit()
            finally:
                target.close()
        return str(path)

    def _locking(self, work: Callable[[], R], *, wait_s: float) -> R:
        """Run a function that takes the write lock; repeat it while another process holds the lock."""
        until = time.monotonic() + wait_s
        while True:
            try:
                self._others.look()
                return work()
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= until:
                    raise
            time.sleep(BUSY_POLL_S)

    def _check_files(self) -> None:
        """Verify that the next process will find the data that was committed.

        Raises:
            StoreLostError: The path no longer names the files written to. SQLite does not notice in WAL mode.
        """
        if identities(self.path) != self._files:
            raise StoreLostError(self.where)

    def _in_transaction(self, work: Callable[[sqlite3.Connection], R]) -> R:
        """Run it in the open transaction, which is rolled back if it fails."""
        try:
            return work(self._writer)
        except BaseException:
            # After "disk full" SQLite may have rolled back by itself.
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _holder(self) -> str | None:
        """The process that may hold the write lock, for the message: readers are never locked out in WAL mode."""
        try:
            rows = self._reader.execute("SELECT owner FROM shards WHERE owner IS NOT NULL").fetchall()
        except sqlite3.Error:
            return None
        owners = {Owner.loads(row[0]) for row in rows} - {this_process()}
        return ", ".join(sorted(str(owner) for owner in owners if not is_gone(owner))) or None
