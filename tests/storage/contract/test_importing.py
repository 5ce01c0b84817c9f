"""Copying runs between stores of every kind: whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from orchestrator import (
    Checkpoint,
    RunExistsError,
    RunInUseError,
    RunStatus,
    Status,
    Store,
    StoreError,
    UnknownRunError,
    copy_run,
    open_store,
)
from orchestrator.lifecycle.rows import Rows
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.lease import Owner, this_process
from orchestrator.storage.records import STAGING_LIMIT_S, Save
from orchestrator.storage.transfer import RunPart
from tests.support.stores import OTHER, RUN, Place, checkpoint, event, record

GONE = attrs.evolve(this_process(), started="1")
NUMBERS = range(450)
"""Of three parts."""
KEY = "the-key"


def ended(number: int) -> Checkpoint:
    """A completed instance, which was started under an older definition."""
    row = checkpoint(number, Status.COMPLETED, "completed", body=b'{"definition": "d0"}')
    return attrs.evolve(row, effects=("user",), not_before=number / 3)


async def fill(store: Store) -> None:
    """Store a finished run with something in every table."""
    rows = Rows(key=KEY, count=2, digest="d")
    await store.add_rows(KEY, {0: b"zero", 1: b"one"}, this_process())
    run = record(rows=rows, reports={"junit": "/tmp/x.xml"})
    await store.create_run(run, {"one": "f1"}, shards=2)
    await store.add_fingerprints("d0", {"one": "f0"})
    shards = [await store.claim(RUN, index, OTHER, 30) for index in (0, 1)]
    await store.save(Save(shards[1], attrs.evolve(ended(7), evidence=b"first"), [event(7, 1)]))
    for shard in shards:
        saves = [Save(shard, ended(number), [event(number, 2), event(number, 3)]) for number in NUMBERS if shard.owns(number)]
        await store.save_all(shard, saves, RunStatus.RUNNING)
    await store.save(Save(shards[1], attrs.evolve(ended(7), evidence=b"second"), []))
    await store.save_statistics(shards, {1: b"window", 2: b"another"}, [], 12.5)
    await store.save_pause(shards[0], "configuration", 77.5)
    await store.release(shards, [0, 1], RunStatus.RUNNING)


async def everything(store: Store) -> object:
    """All that the store says of the run."""
    return (
        await store.run(RUN),
        [attrs.evolve(shard, lease_until=0.0) for shard in await store.shards(RUN)],
        await store.load(RUN, limit=1000),
        [await store.events(RUN, number) for number in (0, 7, 449)],
        await store.evidence(RUN, 7),
        await store.statistics(RUN),
        await store.pauses(RUN),
        await store.rows(KEY),
        await store.fingerprints("d1"),
        await store.fingerprints("d0"),
        await store.counts(RUN),
    )


@asynccontextmanager
async def source_of(tmp_path: Path, clock: object) -> AsyncIterator[Store]:
    """An SQLite store with the run, by the clock of the test."""
    async with open_store(f"sqlite:{tmp_path / 'source.db'}", clock=clock) as store:
        await fill(store)
        yield store


async def test_a_copy_is_the_same_in_every_respect(place: Place, tmp_path: Path) -> None:
    async with source_of(tmp_path, place.clock) as source, open_store(place.url, clock=place.clock) as target:
        before = await everything(source)
        assert await copy_run(source, target, RUN) == len(NUMBERS)
        assert await everything(target) == before == await everything(source)
        async with open_store(f"sqlite:{tmp_path / 'back.db'}") as back:
            await copy_run(target, back, RUN)
            assert await everything(back) == before


async def test_a_copy_replaces_characters_that_the_target_does_not_store(place: Place) -> None:
    async with place.opened() as target, open_store("memory:") as source:
        await source.create_run(record("odd"), {})
        shard = await source.claim("odd", 0, OTHER, 30)
        odd = attrs.evolve(event(0, 1), run_id="odd", error="bad \0 body")
        await source.save(Save(shard, attrs.evolve(checkpoint(0), run_id="odd"), [odd]))
        await source.release([shard])
        await copy_run(source, target, "odd")
        [found] = await target.events("odd", 0)
        assert (found.error or "").replace("\0", "\ufffd") == "bad \ufffd body"


async def test_a_copied_run_can_be_claimed_and_continued_with_a_higher_epoch(place: Place, tmp_path: Path) -> None:
    async with source_of(tmp_path, place.clock) as source, open_store(place.url, clock=place.clock) as target:
        await copy_run(source, target, RUN)
        shard = await target.claim(RUN, 0, this_process(), 30)
        assert (shard.epoch, shard.elapsed) == (2, 12.5)
        await target.save(Save(shard, checkpoint(0, body=b"later"), [event(0, 4)]))
        assert (await target.load(RUN, limit=1))[0].body == b"later"


async def test_a_run_that_is_there_is_refused_and_unchanged(place: Place, tmp_path: Path) -> None:
    async with source_of(tmp_path, place.clock) as source, open_store(place.url, clock=place.clock) as target:
        await target.create_run(record(workflow="other"), {})
        with pytest.raises(RunExistsError, match=RUN):
            await copy_run(source, target, RUN)
        assert await target.run(RUN) == record(workflow="other")
        assert await target.load(RUN) == []
        assert await target.rows(KEY) == []


async def test_a_run_that_a_process_drives_is_refused_and_leaves_nothing(place: Place, tmp_path: Path) -> None:
    async with source_of(tmp_path, place.clock) as source, open_store(place.url, clock=place.clock) as target:
        await source.claim(RUN, 1, OTHER, 30)
        with pytest.raises(RunInUseError, match="process 7 on elsewhere drives it"):
            await copy_run(source, target, RUN)
        place.clock.time += 31
        await copy_run(source, target, RUN)
        assert [shard.owner for shard in await target.shards(RUN)] == [None, None]


async def test_a_run_that_is_driven_during_the_copy_is_not_copied(place: Place, tmp_path: Path) -> None:
    async with source_of(tmp_path, place.clock) as source, open_store(place.url, clock=place.clock) as target:
        export = source.export

        async def claimed_meanwhile(run_id: str, **page: int) -> RunPart:
            if page["after"] == -1:
                shard = await source.claim(RUN, 0, OTHER, 30)
                await source.release([shard], [0])
            return await export(run_id, **page)

        source.export = claimed_meanwhile
        with pytest.raises(RunInUseError, match="has changed it meanwhile"):
            await copy_run(source, target, RUN)
        assert (await target.runs()).total == 0
        assert await target.rows(KEY) == []
        assert await target.load(RUN) == []
        source.export = export
        assert await copy_run(source, target, RUN) == len(NUMBERS)


async def test_a_run_needs_the_one_that_it_reuses(place: Place, tmp_path: Path) -> None:
    async with source_of(tmp_path, place.clock) as source, open_store(place.url, clock=place.clock) as target:
        scenario = Scenario(instances=1, rounds=2, reuse=RUN)
        await source.create_run(record("reusing", scenario=scenario, status=RunStatus.FINISHED), {})
        with pytest.raises(UnknownRunError, match=RUN):
            await copy_run(source, target, "reusing")
        await copy_run(source, target, RUN)
        await copy_run(source, target, "reusing")
        assert (await target.usage(RUN)).reused_by == ("reusing",)


@pytest.mark.parametrize("owner", [OTHER, GONE], ids=["expired", "gone"])
async def test_a_copy_whose_process_died_leaves_nothing_and_can_be_repeated(place: Place, tmp_path: Path, owner: Owner) -> None:
    if place.url == "memory:":
        pytest.skip("a store in memory dies with the process")
    async with source_of(tmp_path, place.clock) as source, open_store(place.url, clock=place.clock) as target:
        await target.begin_import(RUN, owner)
        await target.import_part(RUN, await source.export(RUN), owner)
        await target.add_rows(KEY, {0: b"zero"}, owner)
        assert (await target.runs()).total == 0
        if owner is OTHER:
            with pytest.raises(RunExistsError):
                await copy_run(source, target, RUN)
            with pytest.raises(RunExistsError):
                await target.create_run(record(), {})
            place.clock.time += STAGING_LIMIT_S + 1
        assert await copy_run(source, target, RUN) == len(NUMBERS)
        assert await target.rows(KEY) == [(0, b"zero"), (1, b"one")]


async def test_a_copy_that_was_deleted_cannot_be_finished(place: Place, tmp_path: Path) -> None:
    async with source_of(tmp_path, place.clock) as source, open_store(place.url, clock=place.clock) as target:
        part = await source.export(RUN)
        await target.begin_import(RUN, this_process())
        await target.abandon_import(RUN, this_process())
        with pytest.raises(StoreError, match="was deleted before it was finished"):
            await target.import_part(RUN, part, this_process())
