"""The SQLite store: one file, WAL, ``synchronous=FULL``, group commit off the event loop."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import attrs
import cattrs.preconf.orjson
import orjson

from orchestrator.clock import SystemClock
from orchestrator.errors import StaleEpochError, StoreError, StoreLostError, UnknownRunError
from orchestrator.lifecycle.events import Event, EventKind
from orchestrator.lifecycle.instance import RESUMABLE, Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.storage.base import (
    Checkpoint,
    Save,
    Shard,
    Store,
    StoredWindow,
    WallClock,
    claimed,
    outdated_event,
    released,
    run_status,
)
from orchestrator.storage.commits import GroupCommit, Writer
from orchestrator.storage.lease import Owner, is_gone, this_process
from orchestrator.storage.schema import APPLICATION_ID, MIGRATIONS

R = TypeVar("R")

BUSY_TIMEOUT_S = 5.0
"""How long to wait for another process that is writing. Our transactions take milliseconds."""
BUSY_POLL_S = 0.005

_converter = cattrs.preconf.orjson.make_converter()
_CHECKPOINT_COLUMNS = "run_id, number, status, position, updated_at, not_before, effects, body"
_SHARD_COLUMNS = "run_id, shard, of, epoch, owner, lease_until, elapsed, done"
_EVENT_COLUMNS = "run_id, number, seq, kind, at, state, handler, attempt, outcome, target, duration_s, error, failure, code"
_CHECKPOINTS = f"SELECT {_CHECKPOINT_COLUMNS} FROM instances WHERE run_id = ?"
_SAVE_INSTANCE = (
    f"INSERT INTO instances ({_CHECKPOINT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (run_id, number) DO UPDATE SET status = excluded.status, position = excluded.position, "
    "updated_at = excluded.updated_at, not_before = excluded.not_before, effects = excluded.effects, body = excluded.body"
)
_SAVE_EVENT = f"INSERT INTO events ({_EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_UNSTORABLE = (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError, UnicodeError)
_CAP_HISTORY = "DELETE FROM events WHERE run_id = ? AND number = ? AND seq = ?"


class SQLiteStore(Store):
    """See :class:`~orchestrator.storage.base.Store`. One connection writes, another one reads. The writer's thread and the
    event loop share the first: the loop uses it only while that thread is idle."""

    def __init__(self, path: Path, writer: sqlite3.Connection, reader: sqlite3.Connection, clock: WallClock) -> None:
        self.where = f"the store {path}"
        self._path = path
        self._clock = clock
        self._writer = writer
        self._reader = reader
        self._files = _identities(path)
        """Identities of the files that commits write to; compared with those at the path."""
        self._thread = Writer()
        self._reading = anyio.CapacityLimiter(1)
        self._commits: GroupCommit[Save] = GroupCommit(self._begin_saves, self._write_saves, self._thread)

    @classmethod
    async def open(cls, path: str | Path, *, create: bool = True, clock: WallClock | None = None) -> SQLiteStore:
        """Open the file, creating it (mode 0600) if necessary."""
        return await anyio.to_thread.run_sync(cls._open, Path(path), create, clock or SystemClock())

    @classmethod
    def _open(cls, path: Path, create: bool, clock: WallClock) -> SQLiteStore:
        path = path.expanduser()
        with _explained(path):
            if create:
                _make_private_file(path)
            elif not path.exists():
                raise StoreError(f"there is no store at {path}: nothing has been run with it yet")
            writer = _connect(path)
            try:
                _prepare(writer, path)
                # The time to wait differs between transactions: see `_begin`.
                writer.execute("PRAGMA busy_timeout = 0")
                reader = _connect(path)
                # A read creates a missing -wal file, which stays as long as a connection is open.
                reader.execute("SELECT 1 FROM runs LIMIT 1").fetchall()
                return cls(path, writer, reader, clock)
            except BaseException:
                writer.close()
                raise

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._commits.drain()
            await self._thread.run(self._writer.close)
            self._thread.close()
            await anyio.to_thread.run_sync(self._reader.close, limiter=self._reading)

    async def rescue(self) -> str | None:
        return await anyio.to_thread.run_sync(self._rescue, limiter=self._reading)

    def _rescue(self) -> str:
        """Copy the data through the open connection: it still reaches a deleted file."""
        path = self._path.with_name(f"{self._path.name}.rescued-{os.getpid()}")
        with _explained(path):
            _make_private_file(path)
            target = sqlite3.connect(path)
            try:
                self._reader.backup(target)
                # Our run has stopped: release its lease, so that the copy can be used at once.
                target.execute("UPDATE shards SET owner = NULL WHERE owner = ?", (this_process().dumps(),))
                target.commit()
            finally:
                target.close()
        return str(path)

    async def create_run(
        self,
        run: RunRecord,
        fingerprints: Mapping[str, str],
        *,
        shards: int = 1,
        claim: Collection[int] = (),
        owner: Owner | None = None,
        lease_s: float = 0.0,
    ) -> list[Shard]:
        def write(db: sqlite3.Connection) -> list[Shard]:
            now = self._clock.now()
            made = [Shard(run_id=run.id, index=index, of=shards) for index in range(shards)]
            made = [claimed(one, owner, lease_s, now) if owner and one.index in claim else one for one in made]
            _insert_fingerprints(db, run.definition, fingerprints)
            db.execute(
                "INSERT INTO runs (id, workflow, status, created_at, updated_at, body) VALUES (?, ?, ?, ?, ?, ?)",
                (run.id, run.workflow, run.status.value, run.created_at, run.updated_at, _converter.dumps(run)),
            )
            db.executemany(
                f"INSERT INTO shards ({_SHARD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(s.run_id, s.index, s.of, s.epoch, s.owner, s.lease_until, s.elapsed, s.done) for s in made],
            )
            return [shard for shard in made if shard.owner is not None]

        return await self._write(write)

    async def run(self, run_id: str) -> RunRecord:
        rows = await self._read("SELECT id, status, updated_at, body FROM runs WHERE id = ?", run_id)
        if not rows:
            raise UnknownRunError(f"run {run_id}", self.where)
        return _run_from_row(rows[0])

    async def runs(self, limit: int = 100, statuses: Collection[RunStatus] | None = None) -> list[RunRecord]:
        wanted = sorted(RunStatus if statuses is None else statuses)
        rows = await self._read(
            f"SELECT id, status, updated_at, body FROM runs WHERE status IN ({', '.join('?' * len(wanted))}) "
            "ORDER BY created_at DESC LIMIT ?",
            *wanted,
            limit,
        )
        return [_run_from_row(row) for row in rows]

    async def set_run_status(self, shard: Shard, status: RunStatus) -> None:
        await self._write(partial(_set_run_status, shard=shard, status=status, now=self._clock.now()))

    async def set_reports(self, run_id: str, reports: Mapping[str, str]) -> None:
        def write(db: sqlite3.Connection) -> None:
            row = db.execute("SELECT id, status, updated_at, body FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                raise UnknownRunError(f"run {run_id}", self.where)
            run = attrs.evolve(_run_from_row(row), reports=reports)
            db.execute("UPDATE runs SET body = ? WHERE id = ?", (_converter.dumps(run), run_id))

        await self._write(write)

    async def fingerprints(self, definition: str) -> Mapping[str, str]:
        rows = await self._read("SELECT fingerprints FROM definitions WHERE definition = ?", definition)
        return orjson.loads(rows[0][0]) if rows else {}

    async def add_fingerprints(self, definition: str, fingerprints: Mapping[str, str]) -> None:
        await self._write(partial(_insert_fingerprints, definition=definition, fingerprints=fingerprints))

    async def shards(self, run_id: str) -> list[Shard]:
        rows = await self._read(f"SELECT {_SHARD_COLUMNS} FROM shards WHERE run_id = ? ORDER BY shard", run_id)
        return [_shard_from_row(row) for row in rows]

    async def claim(self, run_id: str, index: int, owner: Owner, lease_s: float) -> Shard:
        def write(db: sqlite3.Connection) -> Shard:
            # Read and raise the epoch in one write transaction: otherwise two claimants would both win.
            shard = _read_shard(db, run_id, index)
            if shard is None:
                raise UnknownRunError(f"shard {index} of run {run_id}", self.where)
            return _update_shard(db, claimed(shard, owner, lease_s, self._clock.now()))

        return await self._write(write)

    async def renew(self, shard: Shard, lease_s: float) -> Shard:
        def write(db: sqlite3.Connection) -> Shard:
            _check_epoch(db, shard)
            return _update_shard(db, attrs.evolve(shard, lease_until=self._clock.now() + lease_s))

        return await self._write(write)

    async def release(self, shards: Sequence[Shard], done: Collection[int] = (), meanwhile: RunStatus | None = None) -> RunStatus:
        run_id = shards[0].run_id

        def write(db: sqlite3.Connection) -> RunStatus:
            now, ours = self._clock.now(), 0
            for shard in shards:
                current = _read_shard(db, run_id, shard.index)
                if current is not None and current.epoch == shard.epoch:
                    _update_shard(db, released(current, now, done=shard.index in done))
                    ours += 1
            if ours and meanwhile is not None:
                status = run_status(_read_shards(db, run_id), meanwhile, now)
                db.execute("UPDATE runs SET status = ?, updated_at = ? WHERE id = ?", (status.value, now, run_id))
            return RunStatus(db.execute("SELECT status FROM runs WHERE id = ?", (run_id,)).fetchone()[0])

        return await self._write(write)

    async def save(self, save: Save) -> None:
        await self._commits.commit(save)

    async def save_all(self, shard: Shard, saves: Sequence[Save], status: RunStatus) -> None:
        def write(db: sqlite3.Connection) -> None:
            _set_run_status(db, shard, status, self._clock.now())
            for error in _put_in(db, saves):
                if error is not None:
                    raise error

        await self._write(write)

    async def load(
        self,
        run_id: str,
        statuses: Collection[Status] | None = None,
        *,
        after: int = -1,
        limit: int = 500,
        shard: Shard | None = None,
    ) -> list[Checkpoint]:
        of, index = (1, 0) if shard is None else (shard.of, shard.index)
        if statuses is None:
            sql = f"{_CHECKPOINTS} AND number > ? AND number % ? = ? ORDER BY number LIMIT ?"
            return [_checkpoint_from_row(row) for row in await self._read(sql, run_id, after, of, index, limit)]
        # One index scan per status: a few failed instances among a hundred thousand are found without reading the others.
        ahead = (
            "SELECT number FROM (SELECT number FROM instances WHERE run_id = ? AND status = ? AND number > ? AND number % ? = ? "
            "ORDER BY number LIMIT ?)"
        )
        numbers = " UNION ALL ".join([ahead] * len(statuses)) or "SELECT 0 WHERE 0"
        walks = [value for status in sorted(statuses) for value in (run_id, status, after, of, index, limit)]
        rows = await self._read(f"{_CHECKPOINTS} AND number IN ({numbers}) ORDER BY number LIMIT ?", run_id, *walks, limit)
        return [_checkpoint_from_row(row) for row in rows]

    async def unadmitted(self, shard: Shard, total: int) -> list[range]:
        # A row behind the last number closes the final gap.
        end = shard.index + max(0, -((shard.index - total) // shard.of)) * shard.of
        rows = await self._read(
            "SELECT begin, number FROM (SELECT lag(number, 1, ?) OVER (ORDER BY number) + ? AS begin, number FROM "
            "(SELECT number FROM instances WHERE run_id = ? AND number < ? AND number % ? = ? UNION ALL SELECT ?)) "
            "WHERE number > begin",
            shard.index - shard.of,
            shard.of,
            shard.run_id,
            end,
            shard.of,
            shard.index,
            end,
        )
        return [range(begin, number, shard.of) for begin, number in rows]

    async def counts(self, run_id: str) -> Mapping[tuple[Status, str], int]:
        rows = await self._read(
            "SELECT status, position, count(*) FROM instances WHERE run_id = ? GROUP BY status, position", run_id
        )
        return {(Status(status), position): count for status, position, count in rows}

    async def effects(self, run_id: str) -> Mapping[str, int]:
        rows = await self._read(
            "SELECT effects, count(*) FROM instances WHERE run_id = ? AND effects IS NOT NULL GROUP BY effects", run_id
        )
        found: Counter[str] = Counter()
        for effects, count in rows:
            for kind in orjson.loads(effects):
                found[kind] += count
        return found

    async def uncounted(self, run_id: str, *, after: int = -1, limit: int = 500) -> list[Checkpoint]:
        sql = f"{_CHECKPOINTS} AND number > ? AND effects IS NULL ORDER BY number LIMIT ?"
        return [_checkpoint_from_row(row) for row in await self._read(sql, run_id, after, limit)]

    async def oldest(self, run_id: str) -> Mapping[str, tuple[int, float]]:
        # SQLite takes the bare column from the row that has the minimum.
        rows = await self._read(
            "SELECT position, number, min(updated_at) FROM instances "
            f"WHERE run_id = ? AND status IN ({', '.join('?' * len(RESUMABLE))}) GROUP BY position",
            run_id,
            *sorted(RESUMABLE),
        )
        return {position: (number, updated_at) for position, number, updated_at in rows}

    async def save_pause(self, shard: Shard, group: str, until: float) -> None:
        def write(db: sqlite3.Connection) -> None:
            _check_epoch(db, shard)
            db.execute("INSERT OR REPLACE INTO pauses (run_id, rate_group, until) VALUES (?, ?, ?)", (shard.run_id, group, until))

        await self._write(write)

    async def pauses(self, run_id: str) -> Mapping[str, float]:
        return dict(await self._read("SELECT rate_group, until FROM pauses WHERE run_id = ?", run_id))

    async def save_statistics(
        self, shards: Sequence[Shard], rows: Mapping[int, bytes], gone: Collection[int], elapsed: float
    ) -> None:
        key = (shards[0].run_id, shards[0].index, shards[0].epoch)

        def write(db: sqlite3.Connection) -> None:
            for shard in shards:
                _check_epoch(db, shard)
                db.execute("UPDATE shards SET elapsed = ? WHERE run_id = ? AND shard = ?", (elapsed, shard.run_id, shard.index))
            db.executemany(
                "INSERT INTO statistics (run_id, shard, epoch, seq, body) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (run_id, shard, epoch, seq) DO UPDATE SET body = excluded.body",
                [(*key, seq, body) for seq, body in rows.items()],
            )
            db.executemany(
                "DELETE FROM statistics WHERE run_id = ? AND shard = ? AND epoch = ? AND seq = ?", [(*key, seq) for seq in gone]
            )

        await self._write(write)

    async def statistics(self, run_id: str) -> list[StoredWindow]:
        sql = "SELECT shard, epoch, seq, body FROM statistics WHERE run_id = ? ORDER BY shard, epoch, seq"
        return [StoredWindow(*row) for row in await self._read(sql, run_id)]

    async def evidence(self, run_id: str, number: int) -> list[bytes]:
        sql = "SELECT body FROM evidence WHERE run_id = ? AND number = ? ORDER BY rowid"
        return [row[0] for row in await self._read(sql, run_id, number)]

    async def events(self, run_id: str, number: int) -> list[Event]:
        rows = await self._read(
            f"SELECT {_EVENT_COLUMNS} FROM events WHERE run_id = ? AND number = ? ORDER BY seq", run_id, number
        )
        return [_event_from_row(row) for row in rows]

    def _write_saves(self, saves: Sequence[Save]) -> list[Exception | None]:
        return self._transaction(partial(_write_saves, saves=saves))

    def _begin_saves(self, saves: Sequence[Save]) -> Callable[[], list[Exception | None]] | None:
        """Insert rows in an open transaction and return the function that commits it; ``None``: another process is writing."""
        with _explained(self._path):
            if not self._begin(wait_s=0.0):
                return None
            errors = self._in_transaction(partial(_write_saves, saves=saves))

        def commit() -> list[Exception | None]:
            with _explained(self._path):
                self._commit()
            return errors

        return commit

    def _begin(self, *, wait_s: float) -> bool:
        """Begin a write transaction; ``False``: another process has been writing all the time."""
        until = time.monotonic() + wait_s
        while True:
            try:
                # IMMEDIATE: take the write lock before reading what the write depends on.
                self._writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                    raise
            else:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(BUSY_POLL_S)

    async def _write(self, work: Callable[[sqlite3.Connection], R]) -> R:
        # The caller must learn the result: a claim unknown to its process would be held until the lease expires.
        with anyio.CancelScope(shield=True):
            result = await self._thread.run(partial(self._transaction, work))
        return result  # noqa: RET504  # for a type checker, the scope may swallow an exception

    def _transaction(self, work: Callable[[sqlite3.Connection], R]) -> R:
        with _explained(self._path, self._holder):
            if not self._begin(wait_s=BUSY_TIMEOUT_S):
                raise StoreError(_locked(self._path, self._holder))
            result = self._in_transaction(work)
            self._commit()
            return result

    def _commit(self) -> None:
        """Commit, and verify that the next process will find the data.

        Raises:
            StoreLostError: The path no longer names the files written to. SQLite does not notice in WAL mode.
        """
        self._in_transaction(lambda db: db.execute("COMMIT"))
        if _identities(self._path) != self._files:
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

    async def _read(self, sql: str, *args: object) -> list[Any]:
        def read() -> list[Any]:
            with _explained(self._path, self._holder):
                return self._reader.execute(sql, args).fetchall()

        return await anyio.to_thread.run_sync(read, limiter=self._reading)

    def _holder(self) -> str | None:
        """The process that may hold the write lock, for the message: readers are never locked out in WAL mode."""
        try:
            rows = self._reader.execute("SELECT owner FROM shards WHERE owner IS NOT NULL").fetchall()
        except sqlite3.Error:
            return None
        owners = {Owner.loads(row[0]) for row in rows} - {this_process()}
        return ", ".join(sorted(str(owner) for owner in owners if not is_gone(owner))) or None


def _write_saves(db: sqlite3.Connection, saves: Sequence[Save]) -> list[Exception | None]:
    try:
        return _put_in(db, saves)
    except _UNSTORABLE:
        # SQLite rejects a value of one save: the others are still stored.
        db.execute("ROLLBACK")
        db.execute("BEGIN IMMEDIATE")
        return [_put_in_one(db, save) for save in saves]


def _put_in_one(db: sqlite3.Connection, save: Save) -> Exception | None:
    db.execute("SAVEPOINT one")
    try:
        return _put_in(db, [save])[0]
    except _UNSTORABLE as error:
        db.execute("ROLLBACK TO one")
        return StoreError(f"instance {save.checkpoint.run_id}-{save.checkpoint.number} cannot be stored: {error}")
    finally:
        db.execute("RELEASE one")


def _put_in(db: sqlite3.Connection, saves: Sequence[Save]) -> list[Exception | None]:
    epochs: dict[tuple[str, int], int | None] = {}
    errors: list[Exception | None] = []
    instances, events, outdated, written = [], [], [], []
    for save in saves:
        shard, row = save.shard, save.checkpoint
        key = (shard.run_id, shard.index)
        if key not in epochs:
            current = _read_shard(db, *key)
            epochs[key] = current.epoch if current else None
        if epochs[key] != shard.epoch:
            errors.append(StaleEpochError(shard.run_id, shard.epoch))
            continue
        errors.append(None)
        written.append(row)
        effects = None if row.effects is None else orjson.dumps(row.effects).decode()
        instances.append(
            (row.run_id, row.number, row.status.value, row.position, row.updated_at, row.not_before, effects, row.body)
        )
        events += [
            (
                e.run_id,
                e.number,
                e.seq,
                e.kind.value,
                e.at,
                e.state,
                e.handler,
                e.attempt,
                e.outcome,
                e.target,
                e.duration_s,
                e.error,
                e.failure,
                e.code,
            )
            for e in save.events
        ]
        seqs = (outdated_event(e.seq or 0) for e in save.events)
        outdated += [(row.run_id, row.number, seq) for seq in seqs if seq is not None]
    db.executemany(_SAVE_INSTANCE, instances)
    db.executemany(_SAVE_EVENT, events)
    evidence = [(c.run_id, c.number, c.updated_at, c.evidence) for c in written if c.evidence is not None]
    if evidence:
        db.executemany("INSERT INTO evidence (run_id, number, at, body) VALUES (?, ?, ?, ?)", evidence)
    if outdated:
        db.executemany(_CAP_HISTORY, outdated)
    return errors


def _identities(path: Path) -> list[tuple[int, int] | None]:
    """Device and inode of the database and of its write-ahead log; ``None``: the file is missing."""
    found: list[tuple[int, int] | None] = []
    for name in (str(path), f"{path}-wal"):
        try:
            status = os.stat(name)
        except (FileNotFoundError, NotADirectoryError):
            found.append(None)
        else:
            found.append((status.st_dev, status.st_ino))
    return found


def _make_private_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        # SQLite gives the -wal and -shm files the mode of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass


def _connect(path: Path) -> sqlite3.Connection:
    # cached_statements: our few statements stay prepared. Autocommit: transactions are begun explicitly.
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    # In one transaction: another process may be creating the file at the same time.
    db.execute("BEGIN")
    empty = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    application_id = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute("COMMIT")
    if application_id != APPLICATION_ID and not (empty and application_id == 0 and version == 0):
        raise StoreError(f"{path} is a database, but not a store of this program; name another file")
    if not 0 <= version <= len(MIGRATIONS):
        raise StoreError(
            f"the store {path} has schema version {version}, and this program knows versions up to {len(MIGRATIONS)}; "
            "use the newer program that made it, or name another file"
        )
    db.execute("PRAGMA journal_mode = WAL")
    if version == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    # Read again under the lock: another process may have migrated in between.
    done = db.execute("PRAGMA user_version").fetchone()[0]
    for statements in MIGRATIONS[done:]:
        for statement in filter(str.strip, statements.split(";")):
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.execute("COMMIT")


@contextmanager
def _explained(path: Path, holder: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """Turn errors of SQLite and the file system into one line: the problem, the file, the cure."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_explain(path, error, holder)) from error
    except OSError as error:
        raise StoreError(f"the store {path} cannot be opened: {error.strerror or error}; name another with --store") from error


def _explain(path: Path, error: sqlite3.Error, holder: Callable[[], str | None]) -> str:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return _locked(path, holder)
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE")):
        return f"the store {path} cannot be written: the disk is full; free some space, then try again (nothing is lost)"
    if name.startswith("SQLITE_READONLY"):
        return f"the store {path} is read-only; make the file and its folder writable, or name another with --store"
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return f"{path} is not a store of this program, or it is damaged ({error}); name another with --store"
    if name.startswith("SQLITE_CANTOPEN"):
        return f"the store {path} cannot be opened ({error}); check that its folder exists and may be written"
    return f"the store {path} failed: {error} ({name or 'no code'})"


def _locked(path: Path, holder: Callable[[], str | None]) -> str:
    who = holder()
    hint = f"it is probably {who}" if who else "another program has it open"
    return f"the store {path} has been locked for {BUSY_TIMEOUT_S:g} s ({hint}); stop or continue that process, then try again"


def _read_shard(db: sqlite3.Connection, run_id: str, index: int) -> Shard | None:
    row = db.execute(f"SELECT {_SHARD_COLUMNS} FROM shards WHERE run_id = ? AND shard = ?", (run_id, index)).fetchone()
    return _shard_from_row(row) if row else None


def _read_shards(db: sqlite3.Connection, run_id: str) -> list[Shard]:
    rows = db.execute(f"SELECT {_SHARD_COLUMNS} FROM shards WHERE run_id = ? ORDER BY shard", (run_id,)).fetchall()
    return [_shard_from_row(row) for row in rows]


def _update_shard(db: sqlite3.Connection, shard: Shard) -> Shard:
    db.execute(
        "UPDATE shards SET epoch = ?, owner = ?, lease_until = ?, done = ? WHERE run_id = ? AND shard = ?",
        (shard.epoch, shard.owner, shard.lease_until, shard.done, shard.run_id, shard.index),
    )
    return shard


def _check_epoch(db: sqlite3.Connection, shard: Shard) -> None:
    current = _read_shard(db, shard.run_id, shard.index)
    if current is None or current.epoch != shard.epoch:
        raise StaleEpochError(shard.run_id, shard.epoch)


def _set_run_status(db: sqlite3.Connection, shard: Shard, status: RunStatus, now: float) -> None:
    _check_epoch(db, shard)
    db.execute("UPDATE runs SET status = ?, updated_at = ? WHERE id = ?", (status.value, now, shard.run_id))


def _insert_fingerprints(db: sqlite3.Connection, definition: str, fingerprints: Mapping[str, str]) -> None:
    db.execute(
        "INSERT OR IGNORE INTO definitions (definition, fingerprints) VALUES (?, ?)",
        (definition, orjson.dumps(dict(fingerprints)).decode()),
    )


def _run_from_row(row: Any) -> RunRecord:
    run_id, status, updated_at, body = row
    try:
        return attrs.evolve(_converter.loads(body, RunRecord), status=RunStatus(status), updated_at=updated_at)
    except Exception as error:
        raise StoreError(
            f"the record of run {run_id} cannot be read: it is damaged, or of another version of this program"
        ) from error


def _shard_from_row(row: Any) -> Shard:
    run_id, index, of, epoch, owner, lease_until, elapsed, done = row
    return Shard(
        run_id=run_id,
        index=index,
        of=of,
        epoch=epoch,
        owner=owner,
        lease_until=lease_until,
        elapsed=elapsed,
        done=bool(done),
    )


def _checkpoint_from_row(row: Any) -> Checkpoint:
    run_id, number, status, position, updated_at, not_before, effects, body = row
    return Checkpoint(
        run_id=run_id,
        number=number,
        status=Status(status),
        position=position,
        updated_at=updated_at,
        not_before=not_before,
        effects=None if effects is None else tuple(orjson.loads(effects)),
        body=body,
    )


def _event_from_row(row: Any) -> Event:
    names = _EVENT_COLUMNS.split(", ")
    data = dict(zip(names, row, strict=True))
    return Event(**{**data, "kind": EventKind(data["kind"])})
