"""The shards of a run in its reports: the processes that drove each, and the holes."""

from __future__ import annotations

from pathlib import Path

from orchestrator import open_store, start
from orchestrator.inspection.details import details_of
from orchestrator.inspection.shards import shard_rows
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.load.window import Window
from orchestrator.report import html, text
from orchestrator.report import json as json_report
from orchestrator.settings import default_key_file
from orchestrator.storage.encryption import find_key
from orchestrator.storage.records import Shard, StoredWindow
from tests.support.pool import WORKFLOW, TaskPool


def stored(shard: int, epoch: int, at: float, elapsed: float, process: str) -> StoredWindow:
    """A window of two seconds in which a process ended three instances."""
    window = Window(at=at, elapsed=elapsed, width=2.0, cpu_s=0.5, process=process)
    window.counters.update({"started": 3, "ended.completed": 3})
    return StoredWindow(shard, epoch, 0, window.dumps())


def test_a_shard_that_was_driven_again_names_both_processes_and_the_hole() -> None:
    shards = [Shard(run_id="r", index=index, of=2, done=True) for index in (0, 1)]
    windows = [
        stored(0, 1, 100.0, 0.0, "process 7 on a"),
        stored(0, 2, 105.0, 2.0, "process 8 on b"),
        stored(1, 1, 100.0, 0.0, "process 9 on a"),
    ]
    first, second = shard_rows(shards, windows)
    assert (first.processes, first.ended, first.cpu_s) == (("process 7 on a", "process 8 on b"), 6, 1.0)
    assert first.gaps == ((2.0, 3.0),)
    assert (second.processes, second.gaps) == (("process 9 on a",), ())


def test_a_shard_without_measurements_was_measured_with_another_one_or_not_driven() -> None:
    shards = [Shard(run_id="r", index=index, of=3, epoch=epoch) for index, epoch in enumerate((1, 1, 0))]
    rows = shard_rows(shards, [stored(0, 1, 100.0, 0.0, "process 7 on a")])
    assert [row.driver for row in rows] == ["process 7 on a", "measured with another shard", "not driven yet"]


def test_a_run_of_one_shard_has_no_rows() -> None:
    assert shard_rows([Shard(run_id="r")], [stored(0, 1, 100.0, 0.0, "process 7 on a")]) == ()


async def test_every_report_has_a_row_for_each_shard(home: Path) -> None:
    async with open_store(f"sqlite:{home / 'runs.db'}") as store:
        async with start(WORKFLOW, store=store, instances=12, concurrency=2, cluster=TaskPool(2).open) as run:
            await run.wait()
        vault = find_key({}, default_key_file(), create=False)
        there = await StoredRun.load(WORKFLOW, run.id, store=store, vault=vault)
        summary = await summarise(there)
        page = html.page(await details_of(there, summary))
    assert [row.ended for row in summary.shards] == [6, 6]
    lines = list(text.lines(summary))
    assert "Shards" in lines
    assert sum(" ended " in line and " s CPU " in line and " on " in line for line in lines) == 2
    assert "<h2>Shards</h2>" in page
    shards = json_report.document(summary, 0)["statistics"]["shards"]
    assert [row["shard"] for row in shards] == [0, 1]
