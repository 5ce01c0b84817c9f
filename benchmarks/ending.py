"""Time to inspect and to end a run, by its number of instances.

Some hundred real instances of the no-op workflow are copied in the store: rows with sealed bodies, as a run writes them.

    python -m benchmarks.ending [--instances 100000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from benchmarks.engine import WORKFLOW
from orchestrator import Options, Scenario, Vault, open_store, resume, start
from orchestrator.inspection.details import details_of
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.load.collector import resident_bytes
from orchestrator.report.html import page
from orchestrator.storage.base import Store

REAL = 200
Work = Callable[[Store, str], Awaitable[None]]


async def fill(path: Path, instances: int) -> str:
    """Store a run with this many completed instances and as many that were not admitted. Returns its id."""
    async with open_store(f"sqlite:{path}") as store:
        scenario = Scenario(instances=2 * instances, concurrency=50)
        async with start(WORKFLOW, store=store, scenario=scenario, options=options()) as run:
            while run.live.count("ended.completed") < REAL:
                await anyio.sleep(0.05)
            run.stop()
            await run.wait()
    with sqlite3.connect(path) as db:
        admitted = db.execute("SELECT count(*) FROM instances").fetchone()[0]
        columns = "status, position, updated_at, not_before, effects, body"
        db.execute(
            "WITH RECURSIVE n (number) AS (SELECT ? UNION ALL SELECT number + 1 FROM n WHERE number < ?) "
            f"INSERT INTO instances (run_id, number, {columns}) SELECT run_id, n.number, {columns} FROM n, "
            "(SELECT * FROM instances WHERE status = 'completed' LIMIT 1)",
            (admitted, instances - 1),
        )
    db.close()
    return run.id


def options() -> Options:
    """Options with a generated key."""
    return Options(vault=Vault(bytes(32), "the benchmark"))


async def stored(store: Store, run_id: str) -> StoredRun[Any]:
    """The measured run."""
    return await StoredRun.load(WORKFLOW, run_id, store=store, vault=Vault(bytes(32), "the benchmark"))


async def show(store: Store, run_id: str) -> None:
    """Read the data of `show` and of the end of a run."""
    await summarise(await stored(store, run_id))


async def report(store: Store, run_id: str) -> None:
    """Read the data of `report`, and render its page."""
    run = await stored(store, run_id)
    page(await details_of(run, await summarise(run)))


async def stopped(store: Store, run_id: str) -> None:
    """Resume, stop at once, summarize: the work after a Ctrl-C."""
    async with resume(WORKFLOW, run_id, store=store, options=options()) as run:
        run.stop()
        await run.wait()
    await show(store, run_id)


WORKS: dict[str, Work] = {"show": show, "report": report, "resume and stop": stopped}


def child(what: str, path: str, run_id: str) -> None:
    """Print the seconds of one task in its own process, and its peak growth in megabytes."""

    async def work() -> tuple[float, float]:
        async with open_store(f"sqlite:{path}") as store:
            before, began = resident_bytes(), time.perf_counter()
            await WORKS[what](store, run_id)
            took = time.perf_counter() - began
        return took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6

    print(*anyio.run(work))


def main() -> None:
    """Alternate a small run and a large one; print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for instances in (1000, args.instances):
            path = Path(folder) / f"{instances}.db"
            runs[instances] = (str(path), anyio.run(fill, path, instances))
        for what in WORKS:
            found: dict[int, list[tuple[float, ...]]] = {instances: [] for instances in runs}
            for _ in range(args.rounds):
                for instances, run in runs.items():
                    command = [sys.executable, "-m", "benchmarks.ending", "--child", what, *run]
                    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    found[instances].append(tuple(map(float, out.split())))
            shown = []
            for instances, values in found.items():
                took, grown = (statistics.median(column) for column in zip(*values, strict=True))
                shown.append(f"{instances:,} instances {took:.2f} s and {grown:.0f} MB")
            print(f"{what:16} {', '.join(shown)}")


if __name__ == "__main__":
    main()
