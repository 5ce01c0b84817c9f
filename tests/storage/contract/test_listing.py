"""Lists of runs: order, filters, pages."""

from __future__ import annotations

import attrs
import pytest

from orchestrator import RunStatus, Store
from orchestrator.lifecycle.run import UNFINISHED
from orchestrator.storage.listing import RunCursor, RunFilter, RunPage
from tests.support.stores import NOW, RUN, Place, record


def ids(page: RunPage) -> list[str]:
    return [run.id for run in page.runs]


async def stored(store: Store, run_id: str, at: float, **more: object) -> None:
    await store.create_run(record(run_id, created_at=NOW + at, **more), {})


async def test_runs_come_newest_first_and_those_of_one_moment_by_id(place: Place) -> None:
    async with place.opened() as store:
        await stored(store, "b", 1)
        await stored(store, "a", 1)
        await stored(store, "c", 2)
        page = await store.runs()
        assert (ids(page), page.total, page.next) == (["c", "b", "a", RUN], 4, None)


async def test_a_page_says_how_many_runs_there_are_and_where_the_next_one_begins(place: Place) -> None:
    async with place.opened() as store:
        for number in range(4):
            await stored(store, f"run{number}", 1 + number)
        first = await store.runs(limit=2)
        assert (ids(first), first.total) == (["run3", "run2"], 5)
        second = await store.runs(after=first.next, limit=2)
        assert (ids(second), second.total) == (["run1", "run0"], 5)
        last = await store.runs(after=second.next, limit=2)
        assert (ids(last), last.next) == ([RUN], None)


async def test_pages_neither_repeat_nor_omit_a_run_while_others_start_and_are_deleted(place: Place) -> None:
    async with place.opened() as store:
        for number in range(4):
            await stored(store, f"run{number}", 1 + number, status=RunStatus.FINISHED)
        first = await store.runs(limit=2)
        await stored(store, "newest", 100)
        await store.delete_run("run2")
        assert ids(await store.runs(after=first.next, limit=2)) == ["run1", "run0"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (RunFilter(statuses=UNFINISHED), ["b", RUN]),
        (RunFilter(statuses=[]), []),
        (RunFilter(workflow="other"), ["b"]),
        (RunFilter(workflow="unknown"), []),
        (RunFilter(workflow="other", statuses=[]), []),
        (RunFilter(workflow="other", statuses=UNFINISHED), ["b"]),
        (RunFilter(workflow="toy", statuses=[RunStatus.FINISHED, RunStatus.RUNNING]), ["a", RUN]),
        (RunFilter(since=NOW + 1), ["b", "a"]),
        (RunFilter(before=NOW + 1), [RUN]),
        (RunFilter(since=NOW + 1, before=NOW + 2), ["a"]),
        (RunFilter(statuses=[RunStatus.FINISHED], workflow="toy", since=NOW), ["a"]),
    ],
)
async def test_a_filter_selects_runs_that_meet_all_its_conditions(place: Place, wanted: RunFilter, expected: list[str]) -> None:
    async with place.opened() as store:
        await stored(store, "a", 1, status=RunStatus.FINISHED)
        await stored(store, "b", 2, status=RunStatus.INTERRUPTED, workflow="other")
        page = await store.runs(wanted)
        assert (ids(page), page.total) == (expected, len(expected))
        assert all(wanted.accepts(run) for run in page.runs)


async def test_an_unfinished_run_is_found_behind_any_number_of_finished_ones(place: Place) -> None:
    async with place.opened() as store:
        for number in range(150):
            await stored(store, f"run{number:03}", 1 + number, status=RunStatus.FINISHED)
        assert ids(await store.runs(RunFilter(statuses=UNFINISHED), limit=1)) == [RUN]
        page = await store.runs()
        assert (len(page.runs), page.total) == (100, 151)


async def test_a_filter_sees_the_status_of_a_run_as_it_is_now(place: Place) -> None:
    async with place.opened() as store:
        (shard,) = await store.shards(RUN)
        await store.set_run_status(shard, RunStatus.FINISHED)
        assert ids(await store.runs(RunFilter(statuses=UNFINISHED))) == []
        assert attrs.evolve(record(), status=RunStatus.FINISHED, updated_at=place.clock.now()) in (await store.runs()).runs


def test_the_last_page_has_no_next_one() -> None:
    runs = [record("b"), record("a")]
    assert RunPage.cut(runs, 2, 2).next is None
    assert RunPage.cut(runs, 1, 2).next == RunCursor(NOW, "b")
    assert RunPage.cut([], 0, 0).next is None
