"""Long runs: punctual arrivals, a visible stall, constant memory and disk.

python -m benchmarks.endurance arrivals     100 starts a second of 15 no-op states for 60 s: lateness of the starts
python -m benchmarks.endurance stall        a server that stops for 2 s: an open and a closed run side by side
python -m benchmarks.endurance soak         40,000 rounds: memory after 3,000 and 30,000, size of the store
python -m benchmarks.endurance instances    100,000 instances, 100 concurrent: memory during the run
python -m benchmarks.endurance load         `orchestrator load`, 40 starts a second for ten minutes: memory every 30 s
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import attrs

from benchmarks.engine import WORKFLOW as NO_OP
from benchmarks.engine import Context, _no_services
from benchmarks.server import cheap_server
from orchestrator import NextRound, Options, Outcome, Repeat, Run, Scenario, State, Step, Vault, Workflow, done, open_store, start
from orchestrator.load.collector import resident_bytes
from orchestrator.load.statistics import Statistics

ANSWER_S = 0.02
STALL_AT_S, STALL_S = 6.0, 2.0


class SetUp(State[Context, Any]):
    repeat = Repeat.FREELY
    transitions = {"done": "work"}

    async def run(self, step: Step[Context, Any]) -> Outcome[Context]:
        return done(step.context)


class Work(SetUp):
    transitions = {"done": "check"}


class SlowWork(SetUp):
    """Answers after 20 ms, except during two seconds of the run."""

    name = "work"
    transitions = {"done": "check"}
    stalled_until = 0.0

    async def run(self, step: Step[Context, Any]) -> Outcome[Context]:
        await anyio.sleep(ANSWER_S)
        left = self.stalled_until - time.monotonic()
        if 0 < left < STALL_S:
            await anyio.sleep(left)
        return done(step.context)


class Check(SetUp):
    outcomes = frozenset({"done", "again"})
    transitions = {"done": "completed", "again": NextRound("work")}

    async def run(self, step: Step[Context, Any]) -> Outcome[Context]:
        return Outcome("again" if step.another_round else "done", attrs.evolve(step.context, counter=step.context.counter + 1))


def workflow(work: State[Context, Any]) -> Workflow[Context, Any]:
    """Three states, with rounds."""
    return Workflow(
        name="endurance",
        context=Context,
        states=(SetUp(), work, Check()),
        initial_context=lambda run_id, number, settings: Context(),
        open_services=_no_services,
    )


Watch = Callable[[Run[Any]], Awaitable[None]]


async def drive(flow: Workflow[Any, Any], scenario: Scenario, watch: Watch | None = None) -> tuple[Statistics, int]:
    """Run a scenario. Returns its statistics, and the size of the store in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        options = Options(vault=Vault(bytes(32), "the benchmark"))
        async with open_store(f"sqlite:{Path(folder) / 'runs.db'}") as store:
            async with start(flow, store=store, scenario=scenario, options=options) as run:
                if watch is not None:
                    await watch(run)
                result = await run.wait()
            print(f"{scenario.describe()}: {', '.join(f'{n} {status}' for status, n in result.counts.items())}")
            statistics = Statistics.of(await store.statistics(run.id))
        return statistics, sum(path.stat().st_size for path in Path(folder).iterdir())


async def arrivals() -> None:
    """Lateness of arrivals."""
    statistics, _ = await drive(NO_OP, Scenario(rate=100.0, duration=60.0, concurrency=200))
    lag = statistics.latency("start_lag")
    assert lag is not None
    print(f"{lag.count} starts; lateness p50 {lag.at(50) * 1e3:.1f}, p99 {lag.at(99) * 1e3:.1f}, max {lag.max * 1e3:.1f} ms")


async def stall() -> None:
    """The same stall in an open and in a closed run."""
    for scenario in (Scenario(rate=100.0, duration=20.0, concurrency=500), Scenario(concurrency=5, duration=20.0)):
        work = SlowWork()
        SlowWork.stalled_until = time.monotonic() + STALL_AT_S + STALL_S
        statistics, _ = await drive(workflow(work), scenario)
        latency = statistics.latency("instance")
        assert latency is not None
        shown = (f"p{p:g} {latency.at(p) * 1e3:.0f}" for p in (50, 95, 99))
        print(f"    {latency.count} instances: {', '.join(shown)}, max {latency.max * 1e3:.0f} ms")


async def soak() -> None:
    """Memory over 40,000 rounds of 40 instances."""
    at: dict[int, float] = {}

    async def watch(run: Run[Any]) -> None:
        wanted = [3_000, 10_000, 20_000, 30_000]
        while wanted:
            await anyio.sleep(0.1)
            if run.live.count("round.done") >= wanted[0]:
                at[wanted.pop(0)] = resident_bytes() / 1e6

    statistics, size = await drive(workflow(Work()), Scenario(instances=40, concurrency=40, rounds=1000), watch)
    shown = ", ".join(f"{memory:.1f} MB at {rounds:,}" for rounds, memory in at.items())
    print(f"{shown} rounds ({at[30_000] / at[3_000]:.2f} times); the store has {size / 1e6:.1f} MB")
    assert statistics.total.counters["check.moved.again"] == 40 * 999


async def instances() -> None:
    """Memory over 100,000 instances, and its growth per million steps after the first 10,000."""
    at: dict[int, float] = {}

    async def watch(run: Run[Any]) -> None:
        wanted = [10_000, 30_000, 100_000]
        while wanted:
            await anyio.sleep(0.1)
            if run.live.count("ended.completed") >= wanted[0]:
                at[wanted.pop(0)] = resident_bytes() / 1e6

    began = time.monotonic()
    await drive(workflow(Work()), Scenario(instances=100_000, concurrency=100), watch)
    shown = ", ".join(f"{memory:.1f} MB at {ended:,}" for ended, memory in at.items())
    million = (at[100_000] - at[10_000]) / (90_000 * 3) * 1e6
    print(
        f"{shown} instances ({at[100_000] / at[10_000]:.2f} times), {million:.1f} MB per million steps, {time.monotonic() - began:.0f} s"
    )


async def load() -> None:
    """Memory of the program under the requests of the token-fulfillment workflow."""
    from benchmarks.load import variables  # imports the client, which the other benchmarks must not measure

    rate, length, interval = 40, 600, 30
    with cheap_server() as server, tempfile.TemporaryDirectory() as folder:
        scenario = ["--rate", str(rate), "--duration", str(length), "--concurrency", "100", "--on-success", "keep"]
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "load", *scenario, "--store", "runs.db"],
            cwd=folder,
            env=variables(*server, 0, 0),
            stdout=subprocess.DEVNULL,
        )
        memory: list[float] = []
        while process.poll() is None:
            await anyio.sleep(interval)
            if process.poll() is None:
                pages = int(Path(f"/proc/{process.pid}/statm").read_text("ascii").split()[1])
                memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
                print(f"{len(memory) * interval:4} s {memory[-1]:6.1f} MB", flush=True)
    assert process.returncode == 0
    # Not to the last sample: a process that ends reads its statistics for the summary.
    first, last = 60 // interval - 1, length // interval - 1
    growth, requests = memory[last] - memory[first], rate * 15 * (length - 60)
    print(f"{growth / requests * 1e6:.1f} MB per million requests after the first minute; {max(memory[last:]):.1f} MB at the end")


def main() -> None:
    """Run the named benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = {"arrivals": arrivals, "stall": stall, "soak": soak, "instances": instances, "load": load}
    parser.add_argument("what", choices=works)
    anyio.run(works[parser.parse_args().what])


if __name__ == "__main__":
    main()
