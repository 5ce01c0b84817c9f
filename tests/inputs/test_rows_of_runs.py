"""Runs with rows: each instance gets its own, also after a resume without the file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from orchestrator import (
    ENDLESS,
    PermanentError,
    RunConflictError,
    Scenario,
    Secret,
    ServicesError,
    SettingError,
    Status,
    Store,
    Vault,
    Workflow,
    open_store,
    prune,
    resume,
    start,
)
from orchestrator.lifecycle.rows import Rows, fitted
from orchestrator.storage.memory import MemoryStore
from tests.support.toy import Ledger, fast, toy


@attrs.frozen(kw_only=True)
class Row:
    name: str
    password: Secret | None = None


@attrs.frozen(kw_only=True, slots=False)
class Context:
    name: str
    made: tuple[str, ...] = ()


def first(run_id: str, number: int, settings: object, row: Row | None) -> Context:
    return Context(name="nobody" if row is None else row.name)


def workflow_of(ledger: Ledger) -> Workflow[Any, Any]:
    return toy(ledger, context=Context, row=Row, initial_context=first)


def named(count: int) -> list[Mapping[str, Any]]:
    return [{"name": f"n{index}", "password": f"hidden{index}"} for index in range(count)]


async def names(run: Any, count: int) -> list[str]:
    return [(await run.instance(number)).context.name for number in range(count)]


@pytest.fixture(params=["memory:", "runs.db"])
async def store(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[Store]:
    async with open_store(request.param) as store:
        yield store


def test_without_a_number_there_are_as_many_instances_as_rows() -> None:
    assert fitted(Scenario(concurrency=2), 5, repeat=False) == Scenario(instances=5, concurrency=2)
    assert fitted(Scenario(concurrency=2), 5, repeat=True).total == 5
    assert fitted(Scenario(instances=3), 5, repeat=False).total == 3
    assert fitted(Scenario(concurrency=2, duration=9.0), 5, repeat=False).total == 5
    assert fitted(Scenario(concurrency=2, duration=9.0), 5, repeat=True).total is None
    assert fitted(Scenario(rounds=ENDLESS, duration=9.0), 5, repeat=False).cap == 5
    assert fitted(Scenario(rounds=ENDLESS, duration=9.0, concurrency=3), 5, repeat=False).cap == 3
    assert fitted(Scenario(rate=1.0, duration=5.0), 5, repeat=False).total == 5


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (Scenario(instances=6), "there are 5 rows for 6 instances; add rows, give fewer instances, or repeat the rows"),
        (Scenario(rate=1.0, duration=6.0), "there are 5 rows for 6 instances"),
        (Scenario(rounds=ENDLESS, duration=9.0, concurrency=6), "there are 5 rows for 6 instances"),
        (Scenario(reuse="a", rounds=2), "does not go with reuse"),
    ],
)
def test_more_instances_than_rows_are_refused_unless_rows_repeat(scenario: Scenario, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        fitted(scenario, 5, repeat=False)
    if scenario.reuse is None:
        assert fitted(scenario, 5, repeat=True) == scenario


def test_rows_repeat_in_order() -> None:
    assert [Rows(key="", count=3, repeat=True, digest="").number_of(number) for number in range(5)] == [0, 1, 2, 0, 1]


async def test_each_instance_gets_its_row(store: Store, vault: Vault) -> None:
    async with start(workflow_of(Ledger()), store=store, data=named(5), concurrency=2, options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.COMPLETED: 5}
        assert await names(run, 5) == ["n0", "n1", "n2", "n3", "n4"]


async def test_rows_repeat_if_they_are_to(store: Store, vault: Vault) -> None:
    async with start(
        workflow_of(Ledger()), store=store, data=named(2), instances=5, data_repeat=True, options=fast(vault)
    ) as run:
        await run.wait()
        assert await names(run, 5) == ["n0", "n1", "n0", "n1", "n0"]


async def test_without_rows_the_workflow_gets_none(vault: Vault) -> None:
    async with start(workflow_of(Ledger()), store=MemoryStore(), options=fast(vault)) as run:
        await run.wait()
        assert await names(run, 1) == ["nobody"]


async def test_a_resumed_run_has_the_rows_of_its_start_although_the_file_is_gone(store: Store, vault: Vault, home: Path) -> None:
    path, ledger = home / "rows.csv", Ledger()
    path.write_text("name\n" + "".join(f"n{number}\n" for number in range(6)))

    async def stop(step: Any) -> None:
        run.cancel()
        await anyio.sleep_forever()

    ledger.script["run two"] = [None, stop]
    async with start(workflow_of(ledger), store=store, data=path, options=fast(vault)) as run:
        assert (await run.wait()).interrupted
    path.unlink()
    async with resume(workflow_of(ledger), run.id, store=store, options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.COMPLETED: 6}
        assert await names(run, 6) == [f"n{number}" for number in range(6)]


async def test_shards_share_the_rows(store: Store, vault: Vault) -> None:
    workflow, options = workflow_of(Ledger()), fast(vault)
    many = {"data": named(5), "concurrency": 2, "shards": 2}
    async with start(workflow, store=store, drive=False, options=options, **many) as run:
        await run.wait()
    for index in (1, 0):
        async with resume(workflow, run.id, store=store, shards=[index], options=options) as run:
            await run.wait()
    async with resume(workflow, run.id, store=store, options=options) as run:
        assert await names(run, 5) == ["n0", "n1", "n2", "n3", "n4"]


async def test_a_soak_ends_its_replacements_with_the_last_row(vault: Vault) -> None:
    refused = [PermanentError("no")] * 20
    ledger = Ledger(script={"run one": refused})
    soak = Scenario(rounds=2, concurrency=2, duration=1e5)
    async with start(workflow_with_rounds(ledger), store=MemoryStore(), scenario=soak, data=named(3), options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.ROLLED_BACK: 3}


def workflow_with_rounds(ledger: Ledger) -> Workflow[Any, Any]:
    from orchestrator import NextRound
    from tests.support.toy import Making, One, Two

    class Three(Making):
        outcomes = frozenset({"done", "again"})
        transitions = {"done": "completed", "again": NextRound("two")}

    return toy(ledger, One(), Two(), Three(), context=Context, row=Row, initial_context=first)


def two_good_rows_and_a_bad_one() -> Iterator[Mapping[str, Any]]:
    yield from named(2500)
    yield {"title": "x"}


async def test_a_bad_row_among_thousands_leaves_nothing(vault: Vault, home: Path) -> None:
    ledger = Ledger()
    async with open_store("runs.db") as store:
        with pytest.raises(SettingError, match="data: row 2501: unknown column 'title'"):
            async with start(workflow_of(ledger), store=store, data=two_good_rows_and_a_bad_one(), options=fast(vault)):
                pass
        assert (await store.runs()).total == 0
        assert left_rows() == (0, 0)
    assert ledger.opening is None


def left_rows() -> tuple[int, int]:
    with closing(sqlite3.connect("runs.db")) as db:
        counts = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("inputs", "input_rows")]
    return counts[0], counts[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "there are no rows"),
        ([{"name": 5}], "row 1: column 'name': 5 is not text"),
        (["name"], "row 1: 'name' is not a mapping"),
        ("missing.csv", "'missing.csv' cannot be read"),
    ],
)
async def test_wrong_data_is_refused(data: Any, message: str, vault: Vault, home: Path) -> None:
    store = MemoryStore()
    with pytest.raises(SettingError, match=message):
        async with start(workflow_of(Ledger()), store=store, data=data, options=fast(vault)):
            pass
    assert ((await store.runs()).total, store._rows) == (0, {})


async def test_there_must_be_rows_to_repeat(vault: Vault) -> None:
    with pytest.raises(SettingError, match="data-repeat: repeats the rows of data, and there are none; give data"):
        async with start(workflow_of(Ledger()), store=MemoryStore(), data_repeat=True, options=fast(vault)):
            pass


async def test_a_workflow_without_a_row_class_takes_no_rows(vault: Vault) -> None:
    with pytest.raises(SettingError, match="data: the workflow 'toy' takes no rows"):
        async with start(toy(Ledger()), store=MemoryStore(), data=named(1), options=fast(vault)):
            pass


async def test_a_start_whose_services_fail_leaves_no_rows(vault: Vault, home: Path) -> None:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def open_services(settings: Any, context: Any) -> AsyncIterator[Ledger]:
        raise ServicesError("no tenant")
        yield Ledger()

    async with open_store("runs.db") as store:
        workflow = attrs.evolve(workflow_of(Ledger()), open_services=open_services)
        with pytest.raises(ServicesError):
            async with start(workflow, store=store, data=named(3), options=fast(vault)):
                pass
        assert left_rows() == (0, 0)


async def test_rows_are_sealed_in_the_store_and_go_with_their_run(vault: Vault, home: Path) -> None:
    async with open_store("runs.db") as store:
        workflow = workflow_of(Ledger())
        async with start(workflow, store=store, data=named(3), on_success="teardown", options=fast(vault)) as run:
            await run.wait()
        assert left_rows() == (1, 3)
        files = b"".join(path.read_bytes() for path in home.glob("runs.db*"))
        assert b"hidden" not in files
        rows = (await store.run(run.id)).rows
        assert rows is not None
        sealed = [body for _, body in await store.rows(rows.key)]
        assert len({*sealed}) == 3
        assert json.loads(vault.open(sealed[1], f"{run.id} row 1".encode())) == {"name": "n1", "password": "hidden1"}
        assert (await prune(store, keep=0)).deleted == (run.id,)
        assert left_rows() == (0, 0)


async def test_a_second_start_compares_the_rows(store: Store, vault: Vault) -> None:
    workflow, options = workflow_of(Ledger()), fast(vault)

    async def again(**more: Any) -> bool:
        async with start(workflow, store=store, run_id="order", options=options, **more) as run:
            await run.wait()
            return run.existed

    assert [await again(data=named(3)), await again(data=named(3))] == [False, True]
    changed = [*named(2), {"name": "n2", "password": "hidden3"}]
    for more, message in (
        ({"data": changed}, "rows of data have changed"),
        ({"data": named(2)}, "data has 2 rows, and had 3"),
        ({"instances": 3}, "data was given"),
        ({"data": named(3), "data_repeat": True}, "data-repeat is False, not True"),
    ):
        with pytest.raises(RunConflictError) as refused:
            await again(**more)
        assert message in str(refused.value)
        assert "hidden" not in str(refused.value)


async def test_a_million_rows_are_stored_in_batches(vault: Vault) -> None:
    class Counting(MemoryStore):
        most = 0

        async def add_rows(self, key: str, rows: Mapping[int, bytes], owner: Any) -> None:
            self.most = max(self.most, len(rows))

        async def discard_rows(self, key: str) -> None:
            pass

    store, many = Counting(), ({"name": "n"} for _ in range(5000))
    with pytest.raises(SettingError, match="there are 5000 rows for 5001 instances"):
        async with start(workflow_of(Ledger()), store=store, data=many, instances=5001, options=fast(vault)):
            pass
    assert store.most == 1000
