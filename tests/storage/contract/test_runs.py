"""Runs: records, definitions, reports, order."""

from __future__ import annotations

import attrs
import pytest

from orchestrator import RunStatus, UnknownRunError
from tests.support.stores import NOW, RUN, Place, record


async def test_a_run_is_read_back_as_it_was_stored(place: Place) -> None:
    async with place.opened() as store:
        assert await store.run(RUN) == record()
        assert await store.fingerprints("d1") == {"one": "f1"}
        assert await store.fingerprints("unknown") == {}
        with pytest.raises(UnknownRunError, match="261123-zzzzzz"):
            await store.run("261123-zzzzzz")


async def test_runs_come_newest_first(place: Place) -> None:
    async with place.opened() as store:
        await store.create_run(record("261124-000000", created_at=NOW + 1), {})
        assert [run.id for run in await store.runs()] == ["261124-000000", RUN]
        assert len(await store.runs(1)) == 1


async def test_an_unfinished_run_is_found_behind_any_number_of_finished_ones(place: Place) -> None:
    async with place.opened() as store:
        for number in range(150):
            newer = record(f"261124-{number:06}", status=RunStatus.FINISHED, created_at=NOW + 1 + number)
            await store.create_run(newer, {})
        assert [run.id for run in await store.runs(1, {RunStatus.RUNNING, RunStatus.INTERRUPTED})] == [RUN]
        assert len(await store.runs(1000)) == 151


async def test_the_reports_of_a_run_are_replaced_and_nothing_else_of_it(place: Place) -> None:
    async with place.opened() as store:
        before = await store.run(RUN)
        await store.set_reports(RUN, {"junit": "/tmp/x.xml"})
        assert await store.run(RUN) == attrs.evolve(before, reports={"junit": "/tmp/x.xml"})
        with pytest.raises(UnknownRunError):
            await store.set_reports("261123-zzzzzz", {})
