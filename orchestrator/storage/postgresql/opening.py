"""Opening a connection: its settings, our schema, and whether commits are durable."""

from __future__ import annotations

import warnings
from typing import TypeAlias

import asyncpg

from orchestrator.errors import SettingError, StoreError
from orchestrator.storage.postgresql.address import Address
from orchestrator.storage.postgresql.problems import explained
from orchestrator.storage.postgresql.schema import MIGRATIONS

LOCK_TIMEOUT_S = 5
"""How long a statement waits for a lock, before it is repeated."""
IDLE_LIMIT_S = 10
"""A frozen process must not hold its locks for longer."""
MIGRATION_LOCK = 0x0C5E7A7E
"""The advisory lock of all migrations in a database."""

_SETTINGS = {
    "lock_timeout": f"{LOCK_TIMEOUT_S}s",
    "idle_in_transaction_session_timeout": f"{IDLE_LIMIT_S}s",
    "jit": "off",  # compiling takes longer than our statements
}

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def connect(address: Address, statement_limit_s: float, connect_limit_s: float) -> Connection:
    """Connect, with our settings; no schema is needed yet."""
    with warnings.catch_warnings(record=True) as ignored:
        warnings.simplefilter("always")
        try:
            db = await asyncpg.connect(
                address.dsn, password=address.password, timeout=connect_limit_s, command_timeout=statement_limit_s
            )
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            # asyncpg only warns of a password file that others can read, and ignores it.
            raise explained(f"the store {address.shown}", error, "; ".join(str(one.message) for one in ignored)) from error
        except ValueError as error:
            if isinstance(error, (asyncpg.InterfaceError, OSError)):  # an error of TLS is a ValueError, too
                raise
            raise SettingError("store", f"{address.shown}: {error}") from error  # e.g. a port that is no number
    try:
        # By a statement: a connection pooler may refuse parameters of the connection.
        await db.execute("".join(f"SET {name} = '{value}';" for name, value in _SETTINGS.items()))
        await db.execute(f"SET search_path = {address.schema}")
        if await db.fetchval("SHOW synchronous_commit") == "off":
            await db.execute("SET synchronous_commit = on")
    except BaseException:
        db.terminate()
        raise
    return db


async def version(db: Connection, schema: str) -> int | None:
    """The version of our schema; ``None``: there is none."""
    if await db.fetchval("SELECT to_regclass($1)", f"{schema}.schema_version") is None:
        return None
    found = await db.fetchval(f"SELECT version FROM {schema}.schema_version")
    return int(found)


async def prepare(db: Connection, address: Address, *, create: bool) -> None:
    """Bring our schema up to date.

    Raises:
        StoreError: It has a version that this program does not know, or the schema belongs to another program, or there is
            none and none may be created.
    """
    where, schema = f"the store {address.shown}", address.schema
    found = await version(db, schema)
    if found is None and not create:
        raise StoreError(f"there is no store in the schema {schema} of {address.shown}: nothing has been run with it yet")
    if found is not None and not 0 <= found <= len(MIGRATIONS):
        raise StoreError(
            f"{where} has schema version {found}, and this program knows versions up to {len(MIGRATIONS)}; "
            "use the newer program that made it, or name another schema with ?schema="
        )
    if found != len(MIGRATIONS):
        # A migration of another process may take longer than the locks of our statements.
        await db.execute("SET lock_timeout = 0")
        # Before the transaction: its caches of names are as old as its beginning.
        await db.execute("SELECT pg_advisory_lock($1)", MIGRATION_LOCK)
        try:
            async with db.transaction():
                await _migrate(db, where, schema)
        finally:
            await db.execute("SELECT pg_advisory_unlock($1)", MIGRATION_LOCK)
            await db.execute(f"SET lock_timeout = '{_SETTINGS['lock_timeout']}'")


async def _migrate(db: Connection, where: str, schema: str) -> None:
    # Read again under the lock: another process may have migrated in between.
    done = await version(db, schema)
    if done is None:
        if await db.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema) is None:
            await db.execute(f"CREATE SCHEMA {schema}")
        elif await db.fetchval("SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1", schema):
            raise StoreError(f"{where}: its schema {schema} holds tables of another program; name another with ?schema=")
        await db.execute(f"CREATE TABLE {schema}.schema_version (version int4 NOT NULL)")
        await db.execute(f"INSERT INTO {schema}.schema_version (version) VALUES (0)")
    for statements in MIGRATIONS[done or 0 :]:
        await db.execute(statements)
    await db.execute(f"UPDATE {schema}.schema_version SET version = $1", len(MIGRATIONS))
