"""One run on several workers. They are tasks of this process here, so that a test sees and delays whatever it likes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator import (
    ClusterError,
    PermanentError,
    RunStatus,
    Scenario,
    SettingError,
    Status,
    Store,
    cleanup,
    open_store,
    resume,
    retry,
    start,
)
from orchestrator.cluster.schedule import Part, parts_of, places_for, shards_for
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.load.statistics import Statistics
from orchestrator.settings import default_key_file
from orchestrator.storage.encryption import find_key
from tests.support.pool import LEDGER, WORKFLOW, TaskPool
from tests.support.toy import toy
from tests.support.waiting import until


def assert_each_once(instances: int) -> None:
    """Both states of each instance were run once."""
    for state in ("limited", "second"):
        objects = [name for name in LEDGER.existing if name.startswith(f"{state}:")]
        assert sorted(objects) == sorted(f"{state}:{number}" for number in range(instances))


@pytest.mark.parametrize(
    ("scenario", "processes", "shards"),
    [
        (Scenario(instances=1000, concurrency=50), 4, 16),
        (Scenario(instances=500, concurrency=50), 4, 8),
        (Scenario(instances=100, concurrency=50), 4, 4),
        (Scenario(instances=100, concurrency=6), 4, 4),
        (Scenario(instances=3, concurrency=50), 4, 3),
        (Scenario(rate=5.0, duration=60.0), 4, 4),
        (Scenario(rounds=0, concurrency=10, duration=60.0), 4, 4),
        (Scenario(), 4, 1),
    ],
)
def test_a_run_by_number_has_more_shards_than_processes_and_one_by_time_as_many(
    scenario: Scenario, processes: int, shards: int
) -> None:
    assert shards_for(scenario, processes) == shards


def test_shards_that_must_run_at_once_are_divided_among_the_workers() -> None:
    assert [part.shards for part in parts_of([0, 2, 3, 4], 3, at_once=True)] == [(0, 4), (2,), (3,)]
    assert [part.shards for part in parts_of([0, 2], 3, at_once=False)] == [(0,), (2,)]


def test_all_parts_together_drive_as_many_instances_as_the_scenario_says() -> None:
    scenario, part = Scenario(instances=1000, concurrency=50), Part((2,))
    assert places_for(scenario, 3, [], part, 6) == 17
    assert places_for(scenario, 3, [Part((0,), places=17), Part((1,), places=17)], part, 6) == 16
    assert places_for(scenario, 3, [Part((0,), places=25), Part((1,), places=25)], part, 6) == 0
    assert places_for(Scenario(instances=60, concurrency=50), 3, [], part, 6) == 10, "it has no more"


async def test_every_instance_is_driven_once_and_measured(store: Store) -> None:
    pool = TaskPool(2)
    async with start(WORKFLOW, store=store, instances=30, concurrency=6, cluster=pool.open, thresholds=["failed < 1%"]) as run:
        result = await run.wait()
        live, verdicts = run.live, run.verdicts
    assert result.status is RunStatus.FINISHED
    assert result.counts[Status.COMPLETED] == 30
    assert_each_once(30)
    assert pool.most_at_once == 2
    assert sorted(task.shards[0] for task in pool.started) == [0, 1]
    assert live.count("ended.completed") == 30
    assert [verdict.holds for verdict in verdicts] in ([True], [False])
    merged = Statistics.of(await store.statistics(result.run_id))
    assert merged.total.counters["ended.completed"] == 30
    assert all(shard.done for shard in await store.shards(result.run_id))


async def test_as_many_instances_run_at_once_as_in_one_process(store: Store) -> None:
    active = most = 0

    async def watched(step: Any) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await anyio.sleep(0.02)
        active -= 1

    LEDGER.script["run second"] = [watched] * 60
    async with start(WORKFLOW, store=store, instances=60, concurrency=9, cluster=TaskPool(2).open) as run:
        await run.wait()
    assert 8 <= most <= 9


async def test_a_stopped_run_is_resumed_on_another_number_of_workers(store: Store) -> None:
    LEDGER.script["run second"] = [lambda step: anyio.sleep(0.02)] * 200
    async with start(WORKFLOW, store=store, instances=60, concurrency=6, cluster=TaskPool(2).open) as run:
        await until(lambda: len(LEDGER.calls) >= 30)
        run.stop()
        stopped = await run.wait()
    assert stopped.status is RunStatus.INTERRUPTED
    assert (await store.run(run.id)).status is RunStatus.INTERRUPTED
    pool = TaskPool(3)
    async with resume(WORKFLOW, run.id, store=store, cluster=pool.open) as again:
        assert (await again.wait()).status is RunStatus.FINISHED
    assert pool.most_at_once <= 3
    assert_each_once(60)


async def test_a_cancelled_block_suspends_all_workers(store: Store) -> None:
    LEDGER.script["run second"] = [lambda step: anyio.sleep(5)] * 200
    with pytest.raises(ZeroDivisionError):
        async with start(WORKFLOW, store=store, instances=20, concurrency=4, cluster=TaskPool(2).open) as run:
            await until(lambda: any(call == "run second" for call in LEDGER.calls))
            raise ZeroDivisionError
    assert (await store.run(run.id)).status is RunStatus.INTERRUPTED
    assert not [shard for shard in await store.shards(run.id) if shard.owner is not None]
    LEDGER.script.clear()
    async with resume(WORKFLOW, run.id, store=store) as again:
        assert (await again.wait()).status is RunStatus.FINISHED
    assert_each_once(20)


async def test_a_part_whose_worker_leaves_is_continued_by_another(store: Store) -> None:
    pool = TaskPool(2)
    LEDGER.script["run second"] = [lambda step: anyio.sleep(0.02)] * 100
    async with start(WORKFLOW, store=store, instances=24, concurrency=4, cluster=pool.open) as run:
        await until(lambda: len(LEDGER.calls) >= 6)
        attempt, link = next(iter(pool.links.items()))
        link.leave()
        assert (await run.wait()).status is RunStatus.FINISHED
    [left] = [task for task in pool.started if task.attempt == attempt]
    assert len([task for task in pool.started if task.shards == left.shards]) == 2
    assert_each_once(24)


async def test_an_error_of_a_worker_ends_the_run_and_says_where(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "orchestrator.cluster.part.workflow_of", lambda reference: toy(LEDGER)
    )  # as on a machine with an older version
    with pytest.raises(ClusterError, match=r"process .* the workflow 'toy' here is not that of the launcher"):
        async with start(WORKFLOW, store=store, instances=4, concurrency=2, cluster=TaskPool(2).open) as run:
            await run.wait()
    assert (await store.run(run.id)).status is RunStatus.INTERRUPTED


async def test_failed_instances_are_retried_and_cleaned_up_by_workers(store: Store) -> None:
    LEDGER.script["run second"] = [PermanentError("no") for _ in range(8)]
    pool = TaskPool(2)
    async with start(WORKFLOW, store=store, instances=8, concurrency=4, on_failure="keep", cluster=pool.open) as run:
        assert (await run.wait()).counts[Status.FAILED] == 8
    async with retry(WORKFLOW, run.id, store=store, cluster=pool.open) as again:
        assert (await again.wait()).counts[Status.COMPLETED] == 8
    assert_each_once(8)
    async with cleanup(WORKFLOW, run.id, store=store, cluster=pool.open) as last:
        assert (await last.wait()).status is RunStatus.FINISHED
    assert not LEDGER.existing


async def test_a_scenario_by_time_starts_when_all_workers_are_ready(store: Store) -> None:
    pool = TaskPool(2)
    scenario = Scenario(rate=40.0, duration=1.0)
    async with start(WORKFLOW, store=store, scenario=scenario, cluster=pool.open) as run:
        result = await run.wait()
        arrivals = run.arrivals
    assert result.counts == {Status.COMPLETED: 40}
    assert sorted(task.shards for task in pool.started) == [(0,), (1,)]
    assert arrivals is not None
    assert arrivals.started == 40
    rows = await store.statistics(result.run_id)
    first = [min(row.seq for row in rows if row.shard == shard) for shard in (0, 1)]
    begins = [Statistics.of([row for row in rows if row.shard == shard and row.seq == first[shard]]).began_at for shard in (0, 1)]
    assert begins[0] is not None
    assert begins[1] is not None
    assert abs(begins[0] - begins[1]) < 0.5


async def test_a_scenario_by_time_is_driven_by_fewer_workers_than_it_has_shards(store: Store) -> None:
    pool = TaskPool(2)
    scenario = Scenario(rate=40.0, duration=0.5)
    async with start(WORKFLOW, store=store, scenario=scenario, shards=3, cluster=pool.open) as run:
        assert (await run.wait()).counts == {Status.COMPLETED: 20}
    assert sorted(task.shards for task in pool.started) == [(0, 2), (1,)]


async def test_a_threshold_is_judged_on_all_workers_and_ends_the_scenario(store: Store) -> None:
    LEDGER.script["run second"] = [PermanentError("no") for _ in range(1000)]
    scenario = Scenario(instances=400, concurrency=4)
    LEDGER.script["run limited"] = [lambda step: anyio.sleep(0.05)] * 1000
    pool = TaskPool(2)
    async with start(WORKFLOW, store=store, scenario=scenario, thresholds=["failed < 10%"], abort=True, cluster=pool.open) as run:
        result = await run.wait()
        assert run.aborted is not None
    assert result.status is RunStatus.FINISHED
    assert sum(number for status, number in result.counts.items() if status is not Status.PENDING) < 400
    vault = find_key({}, default_key_file(), create=False)
    summary = await summarise(await StoredRun.load(WORKFLOW, run.id, store=store, vault=vault))
    assert summary.aborted
    assert [verdict.holds for verdict in summary.verdicts] == [False]


async def test_the_rates_of_all_workers_add_up_to_the_rate_of_the_run(store: Store) -> None:
    times: list[float] = []
    LEDGER.script["run limited"] = [lambda step: times.append(anyio.current_time())] * 100
    async with start(WORKFLOW, store=store, instances=40, concurrency=8, rates={"g": 20.0}, cluster=TaskPool(2).open) as run:
        await run.wait()
    # Each of two workers starts one at once: two more than the rate allows in this time.
    assert len(times) == 40
    assert (len(times) - 2 * 4) / (max(times) - min(times)) <= 20.0 * 1.05


async def test_a_worker_that_comes_later_gets_its_part_of_the_rate_only_after_the_others_have_given_it_up(store: Store) -> None:
    pool, release = TaskPool(1, deaf=True), anyio.Event()
    LEDGER.script["run second"] = [lambda step: release.wait()] * 6
    async with start(WORKFLOW, store=store, instances=12, concurrency=6, shards=6, rates={"g": 50.0}, cluster=pool.open) as run:
        await until(lambda: len(LEDGER.calls) >= 4)
        pool.workers = 2
        with anyio.move_on_after(1.5):
            await until(lambda: pool.most_at_once >= 2)
        assert pool.most_at_once == 1, "the first worker has not confirmed its smaller share"
        pool.deaf = False
        await until(lambda: pool.most_at_once >= 2)
        release.set()
        await run.wait()
    assert pool.most_at_once == 2
    assert_each_once(12)


async def test_a_store_in_memory_cannot_be_shared(home: Path) -> None:
    async with open_store("memory:") as store:
        with pytest.raises(SettingError, match="a store in memory belongs to one process"):
            async with start(WORKFLOW, store=store, processes=2):
                pass


def test_a_run_of_one_process_imports_no_dask(home: Path) -> None:
    source = (
        "import sys\nfrom orchestrator.cli import main\ncode = main(['run'])\n"
        "heavy = [name for name in sys.modules if name.split('.')[0] in ('dask', 'distributed') or name.startswith('orchestrator.cluster')]\n"
        "sys.exit(code or ', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_workers_wait_for_the_store_as_long_as_the_launcher(home: Path) -> None:
    pool = TaskPool(2)
    async with (
        open_store(f"sqlite:{home / 'runs.db'}", timeout_s=3.0) as store,
        start(WORKFLOW, store=store, instances=4, concurrency=2, cluster=pool.open) as run,
    ):
        await run.wait()
    assert {task.store_timeout_s for task in pool.started} == {3.0}
