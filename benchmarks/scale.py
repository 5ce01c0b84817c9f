"""One process against several on this machine, in the same series: rounds alternate, medians are printed.

    steps    no-op steps, durable, through the engine (see `benchmarks.engine`): N processes over one
    load     `orchestrator load` against a cheap server in a process of its own, and k6 on all processors where it is installed
    files    SQLite: two processes that write to one file, against two that write to a file each (an upper bound for any other layout)

A processor that other programs use makes every ratio worse, so the processors and their load are printed. Memory is resident, highest.

    python -m benchmarks.scale [--processes 2] [--instances 20000] [--concurrency 100] [--rounds 3] [--only steps load files]
    ORCHESTRATOR_STORE=postgresql:///?service=bench python -m benchmarks.scale --only steps
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks import load
from benchmarks.engine import STATES, WORKFLOW
from benchmarks.server import cheap_server
from orchestrator import Options, RunStatus, open_store, start
from orchestrator.inspection.shards import shard_rows
from orchestrator.storage.encryption import new_key

SHARDS_PER_PROCESS = 4


def main() -> None:
    """Run the series that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--instances", type=int, default=20_000, help="of 15 no-op steps")
    parser.add_argument("--load-instances", type=int, default=3000, help="of 15 requests")
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=["steps", "load", "files"], default=["steps", "load", "files"])
    given = parser.parse_args()
    os.environ["ORCHESTRATOR_KEY"] = new_key()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {given.rounds} rounds")
    for name in given.only:
        {"steps": _steps, "load": _load, "files": _files}[name](given)


def _series(title: str, unit: str, work: float, contenders: Mapping[str, Callable[[Path], None]], rounds: int) -> None:
    """Time the contenders in turn, and compare each with the first."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                run(Path(folder))
                times[name].append(time.perf_counter() - began)
    print(f"\n{title}")
    first = next(iter(times.values()))
    for name, found in times.items():
        ratio = statistics.median(before / now for before, now in zip(first, found, strict=True))
        print(f"  {name:<28} {work / statistics.median(found):>10,.0f} {unit}   {ratio:>5.2f} x   {_spread(found)}")


def _spread(times: list[float]) -> str:
    return f"{min(times):.1f} to {max(times):.1f} s"


def _steps(given: argparse.Namespace) -> None:
    """The whole program of a run, with the start of its processes."""
    shards = SHARDS_PER_PROCESS * given.processes

    def run(processes: int) -> Callable[[Path], None]:
        def one(folder: Path) -> None:
            url = os.environ.get("ORCHESTRATOR_STORE", f"sqlite:{folder / 'runs.db'}")
            asyncio.run(_drive(url, given.instances, given.concurrency, processes, shards if processes > 1 else 1))

        return one

    _series(
        f"{given.instances * STATES:,} no-op steps, {shards} shards",
        "steps/s",
        given.instances * STATES,
        {"1 process": run(1), f"{given.processes} processes": run(given.processes)},
        given.rounds,
    )


async def _drive(url: str, instances: int, concurrency: int, processes: int, shards: int) -> None:
    workers: dict[int, int] = {}
    before = time.process_time()
    async with (
        open_store(url) as store,
        start(
            WORKFLOW,
            store=store,
            instances=instances,
            concurrency=concurrency,
            shards=shards,
            processes=processes,
            options=Options(),
        ) as run,
    ):
        watch = asyncio.create_task(_watch_memory(workers))
        result = await run.wait()
        watch.cancel()
        assert result.status is RunStatus.FINISHED
        here, rows = time.process_time() - before, shard_rows(await store.shards(run.id), await store.statistics(run.id))
    spent = here + sum(row.cpu_s for row in rows)
    print(
        f"    {processes} processes: {1e6 * spent / (instances * STATES):.0f} us CPU a step, launcher {here if rows else 0:.1f} s in all"
    )
    if processes > 1:
        ours = psutil.Process()
        others = sorted(size for pid, size in workers.items() if pid != ours.pid)
        print(
            f"    memory: launcher {workers[ours.pid] / 1e6:.0f} MB, workers {', '.join(f'{size / 1e6:.0f}' for size in others)} MB"
        )


async def _watch_memory(found: dict[int, int]) -> None:
    """Resident bytes of this process and of those that it has started, highest."""
    while True:
        for process in (psutil.Process(), *psutil.Process().children()):
            try:
                found[process.pid] = max(found.get(process.pid, 0), process.memory_info().rss)
            except psutil.Error:
                continue
        await asyncio.sleep(0.5)


def _load(given: argparse.Namespace) -> None:
    """The command on one process and on several, and k6. The start of processes is left out: a short run is subtracted."""
    few = 5 * given.concurrency
    many = few + given.load_instances
    names = {"1 process": ["load", "1"], f"{given.processes} processes": ["load", str(given.processes)], "k6": ["k6", "1"]}
    with cheap_server() as server:
        if load.command_of("k6", *server, 1, 1) is None:
            del names["k6"]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for _ in range(given.rounds):
            for name, (command, processes) in names.items():
                cpu, wall = load.run(command, server, few, given.concurrency, processes)
                more_cpu, more_wall = load.run(command, server, many, given.concurrency, processes)
                requests = given.load_instances * STATES
                found[name].append((requests / (more_wall - wall), 1e6 * (more_cpu - cpu) / requests))
    print(f"\norchestrator load, {given.load_instances * STATES:,} requests; the server has a process on the same processors")
    first = next(iter(found.values()))
    for name, rounds in found.items():
        rates, costs = zip(*rounds, strict=True)
        ratio = statistics.median(rate / base for (rate, _), (base, _) in zip(rounds, first, strict=True))
        print(
            f"  {name:<28} {statistics.median(rates):>10,.0f} requests/s   {ratio:>5.2f} x   "
            f"{min(rates):,.0f} to {max(rates):,.0f}   {statistics.median(costs):.0f} us of CPU a request"
        )


def _files(given: argparse.Namespace) -> None:
    """Two processes that drive half of the instances each, without a launcher."""
    half = given.instances // 2

    def run(*names: str) -> Callable[[Path], None]:
        def one(folder: Path) -> None:
            processes = [
                multiprocessing.get_context("spawn").Process(
                    target=_drive_alone, args=(f"sqlite:{folder / name}", half, given.concurrency // 2)
                )
                for name in names
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
                assert process.exitcode == 0

        return one

    _series(
        f"SQLite, 2 processes, {given.instances * STATES:,} no-op steps",
        "steps/s",
        given.instances * STATES,
        {"a file each": run("one.db", "two.db"), "one file": run("one.db", "one.db")},
        given.rounds,
    )


def _drive_alone(*given: Any) -> None:
    url, instances, concurrency = given
    asyncio.run(_drive(url, instances, concurrency, 1, 1))


if __name__ == "__main__":
    main()
