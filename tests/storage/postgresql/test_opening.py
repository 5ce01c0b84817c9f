"""Opening a database: the schema, the rights of the user, durability."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator import StoreError, open_store
from orchestrator.storage.postgresql.schema import MIGRATIONS
from orchestrator.storage.records import Save
from tests.support.stores import OTHER, RUN, Place, checkpoint, event


@asynccontextmanager
async def admin(url: str) -> AsyncIterator[tuple[Any, str]]:
    """A connection of a superuser, and the name of the store's schema."""
    import asyncpg

    server, _, schema = url.partition("&schema=")
    connection = await asyncpg.connect(server)
    try:
        yield connection, schema
    finally:
        await connection.close()


async def opening(url: str) -> None:
    """Open the store, and close it."""
    async with open_store(url):
        pass


async def test_a_schema_of_another_program_is_refused(postgresql_url: str) -> None:
    async with admin(postgresql_url) as (db, schema):
        await db.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.theirs (x int)")
        with pytest.raises(StoreError, match=f"its schema {schema} holds tables of another program; name another"):
            await opening(postgresql_url)


async def test_a_newer_schema_is_refused(postgresql_url: str) -> None:
    await opening(postgresql_url)
    async with admin(postgresql_url) as (db, schema):
        await db.execute(f"UPDATE {schema}.schema_version SET version = 99")
        with pytest.raises(StoreError, match=r"has schema version 99, and this program knows versions up to \d+; use the newer"):
            await opening(postgresql_url)


async def test_a_store_of_the_first_schema_is_migrated(postgresql_url: str) -> None:
    async with admin(postgresql_url) as (db, schema):
        await db.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema}; {MIGRATIONS[0]}")
        await db.execute("CREATE TABLE schema_version (version int4 NOT NULL); INSERT INTO schema_version VALUES (1)")
        await db.execute("INSERT INTO events (run_id, number, seq, kind, at, state) VALUES ($1, 0, 1, 'started', 1, 'one')", RUN)
        place = Place(postgresql_url)
        async with place.opened() as store:
            assert [found.state for found in await store.events(RUN, 0)] == ["one"]
            await store.claim(RUN, 0, OTHER, 30)
        assert await db.fetchval("SELECT version FROM schema_version") == len(MIGRATIONS)


async def test_an_ordinary_user_needs_a_schema_and_no_other_right(postgresql_url: str) -> None:
    async with admin(postgresql_url) as (db, schema):
        user = f"user_of_{schema}"
        await db.execute(f"CREATE ROLE {user} LOGIN")
        url = postgresql_url.replace("postgres@/", f"{user}@/")
        with pytest.raises(StoreError, match="permission denied for database postgres; the user needs the right to create"):
            await opening(url)
        await db.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {user}")
        async with Place(url).opened() as store:
            shard = await store.claim(RUN, 0, OTHER, 30)
            store._writer._db.terminate()
            await store.save(Save(shard, checkpoint(0), [event(0, 1)]))
            assert len(await store.load(RUN)) == 1


async def test_commits_are_durable_where_the_server_says_otherwise_by_default(postgresql_url: str) -> None:
    async with open_store(f"{postgresql_url}&options=-csynchronous_commit%3Doff") as store:
        text = (await store.facts()).text
        assert "synchronous_commit=on (set by this program; the default of the server is off)" in text
        assert await store._writer._db.fetchval("SHOW synchronous_commit") == "on"


async def test_a_server_that_may_lose_data_is_a_problem(postgresql_url: str) -> None:
    async with admin(postgresql_url) as (db, _), open_store(postgresql_url) as store:
        facts = await store.facts()
        assert f"PostgreSQL {await db.fetchval('SHOW server_version')}, no TLS" in facts.text
        assert (facts.problem is not None) == (await db.fetchval("SHOW fsync") == "off")
