"""The file with the state of a sandbox: it survives a kill at any moment, a full disk, and long use."""

from __future__ import annotations

import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from states.sandbox import Sandbox, StateFileError, restore, serve
from states.sandbox.objects import Population
from states.sandbox.state_file import StateFile
from tests.support.caller import Caller, furnish, get_code


def same(data: bytes) -> bytes:
    """No encryption."""
    return data


def flipped(data: bytes) -> bytes:
    """A cipher that is its own inverse."""
    return bytes(byte ^ 0x5A for byte in data)


def population(id: str, name: str = "p") -> Population:
    return Population(id=id, created_at=0.0, name=name, description=None, default=False, is_built_in=False)


def tables(sandbox: Sandbox) -> dict[str, list[Any]]:
    """All objects, in the order of the tables."""
    return {kind: list(table.rows.values()) for kind, table in sandbox.environment.tables.items()}


def names(path: Path) -> list[str]:
    """Names of the saved populations."""
    kept = StateFile(path, same, same)
    try:
        return [row.name for _, _, row in kept.objects()]
    finally:
        kept.close()


@asynccontextmanager
async def restored(path: Path) -> AsyncIterator[tuple[Sandbox, Caller]]:
    sandbox = restore(path, flipped, flipped)
    try:
        async with aiohttp.ClientSession() as http, serve(sandbox):
            call = Caller(sandbox, http)
            await call.sign_in()
            yield sandbox, call
    finally:
        sandbox.close()


async def test_a_restored_sandbox_has_its_address_its_worker_and_its_objects(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    async with restored(path) as (first, call):
        tenant = await furnish(call)
        code = await get_code(call, tenant)
        await call("DELETE", f"users/{tenant.user}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    for secret in (first.environment.worker_secret, code, tenant.app):
        assert secret.encode() not in content
    async with restored(path) as (second, call):
        assert second.url == first.url
        assert second.environment.worker_secret == first.environment.worker_secret
        assert tables(second) == tables(first)
        assert (await call("GET", f"applications/{tenant.app}")).status == 200
        assert (await call("GET", f"users/{tenant.user}")).status == 404
    assert [file.name for file in tmp_path.iterdir()] == ["s.db"]


async def test_the_file_goes_away_with_the_last_object(tmp_path: Path) -> None:
    async with restored(tmp_path / "s.db") as (_, call):
        made = await call("POST", "populations", json={"name": "passing"})
        await call("DELETE", f"populations/{made.body['id']}")
    assert list(tmp_path.iterdir()) == []


async def test_the_file_grows_with_the_objects_and_not_with_the_requests(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    sizes = []
    for _ in range(3):
        async with restored(path) as (_, call):
            if not sizes:
                await call("POST", "populations", json={"name": "lasting"})
            for _ in range(40):
                made = await call("POST", "populations", json={"name": "passing"})
                assert (await call("DELETE", f"populations/{made.body['id']}")).status == 204
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1] == sizes[2]


def test_a_kill_at_any_byte_of_a_save_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    """The log is cut at many lengths, as a kill during a write would leave it."""
    path = tmp_path / "s.db"
    kept = StateFile(path, same, same)
    kept.save([("population", "a", population("a", "one")), ("population", "b", population("b", "one"))])
    kept.save([("population", "a", population("a", "two")), ("population", "b", population("b", "two"))])
    log = path.with_name("s.db-wal").read_bytes()
    seen = set()
    for length in {*range(0, len(log), 211), len(log)}:
        copy = tmp_path / f"{length}.db"
        shutil.copy(path, copy)
        copy.with_name(f"{copy.name}-wal").write_bytes(log[:length])
        seen.add(tuple(names(copy)))
    kept.close()
    assert seen == {(), ("one", "one"), ("two", "two")}


def test_a_save_that_did_not_fit_is_made_good_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    kept = StateFile(path, same, same)
    kept.save([("population", "a", population("a", "one")), ("population", "b", population("b", "gone"))])
    pages = kept._db.execute("PRAGMA page_count").fetchone()[0]
    kept._db.execute(f"PRAGMA max_page_count = {pages}")
    changes = [
        ("population", "a", population("a", "x" * 100_000)),
        ("population", "b", None),
        ("population", "c", population("c", "new")),
    ]
    with pytest.raises(StateFileError, match=r"s\.db: database or disk is full"):
        kept.save(changes)
    kept._db.execute("PRAGMA max_page_count = 1000000")
    kept.save([*changes, ("population", "a", population("a", "two"))])
    kept.close()
    assert names(path) == ["two", "new"]


def test_objects_come_back_in_the_order_of_their_creation(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    kept = StateFile(path, same, same)
    for id in "cab":
        kept.save([("population", id, population(id, id))])
    kept.close()
    again = StateFile(path, same, same)
    assert [row.name for _, _, row in again.objects()] == ["c", "a", "b"]
    again.save([("population", "c", population("c", "C")), ("population", "d", population("d", "d")), ("population", "a", None)])
    again.close()
    assert names(path) == ["C", "b", "d"]


def test_a_file_that_another_process_uses_or_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    kept = StateFile(path, same, same)
    with pytest.raises(StateFileError, match="locked"):
        StateFile(path, same, same)
    kept.close()
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(StateFileError, match="not a database"):
        StateFile(path, same, same)
    with pytest.raises(StateFileError, match="No such file"):
        StateFile(tmp_path / "nowhere" / "s.db", same, same)
