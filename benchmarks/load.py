"""What a load run costs: the 15-request chain with durable checkpoints, statistics and the display, on uvloop, against a
hand-written aiohttp script on uvloop that has none of them.

Both send the same requests to the same cheap server, which runs in a process of its own. A third variant leaves out the
statistics and the display, so that their share can be told. Rounds alternate; CPU is this process's.

    python -m benchmarks.load [--instances 300] [--concurrency 50] [--rounds 7] [--profile]
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import pstats
import statistics
import tempfile
from pathlib import Path
from unittest.mock import patch

import anyio

from benchmarks.http import STEPS, Work, measure, script, tuned
from benchmarks.server import cheap_server
from orchestrator import Event, Options, Scenario, Secret, Status, Vault, open_store, start
from orchestrator.cli.live import LoadLines
from orchestrator.collector import Collector
from states.token_fulfillment import WORKFLOW, TokenFulfillmentSettings


async def load(base: str, environment: str, instances: int, concurrency: int, *, display: bool = True) -> None:
    """As `orchestrator load` does it."""
    settings = TokenFulfillmentSettings(base_url=base, environment_id=environment, client_id="w", client_secret=Secret("w" * 20))
    lines = LoadLines(WORKFLOW)
    options = Options(vault=Vault(bytes(32), "the benchmark"))
    scenario = Scenario(instances=instances, concurrency=concurrency)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        async with (
            open_store(f"sqlite:{Path(folder) / 'runs.db'}") as store,
            start(WORKFLOW, settings, store=store, scenario=scenario, options=options) as run,
        ):
            lines.attach(run)
            async with anyio.create_task_group() as tasks:
                if display:
                    tasks.start_soon(lines.keep_up)
                result = await run.wait()
                tasks.cancel_scope.cancel()
            assert result.counts == {Status.COMPLETED: instances}, (result, (await run.instance(0)).failure)


class _Deaf(Collector):
    def __call__(self, event: Event) -> None:
        pass


async def bare(base: str, environment: str, instances: int, concurrency: int) -> None:
    """The same without statistics and display."""
    with patch("orchestrator.runner.Collector", _Deaf):
        await load(base, environment, instances, concurrency, display=False)


def main() -> None:
    """Alternate rounds, then print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true", help="profile one round of the load run instead")
    args = parser.parse_args()
    works: dict[str, Work] = {"script": script, "load": load, "bare": bare}
    with cheap_server() as server:
        if args.profile:
            with cProfile.Profile() as profile:
                measure(load, server, args.instances, args.concurrency, uvloop=True)
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
            return
        for work in works.values():
            measure(work, server, 50, args.concurrency, uvloop=True)
        rounds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(args.rounds):
            for name, work in works.items():
                with contextlib.nullcontext() if work is script else tuned():
                    rounds[name].append(measure(work, server, args.instances, args.concurrency, uvloop=True))
    print(
        f"{STEPS} requests, {args.instances} instances, {args.concurrency} at once, uvloop, {args.rounds} rounds, medians [min-max]"
    )
    for name, values in rounds.items():
        print(f"{name:8} {statistics.median(values):6.0f} µs of client CPU per request [{min(values):.0f}-{max(values):.0f}]")
    for one, other, note in (
        ("load", "script", "at most 1.74 is wanted, 1.35 aimed at"),
        ("load", "bare", "statistics and display: at most 1.05 is wanted"),
    ):
        ratios = [a / b for a, b in zip(rounds[one], rounds[other], strict=True)]
        print(f"ratio of CPU per request, {one} to {other}: {statistics.median(ratios):.2f} ({note})")


if __name__ == "__main__":
    main()
