"""Cost of the engine: a workflow of 15 no-op states, durable after each transition, against a lower bound.

The lower bound (`floor`), measured in the same run: plain asyncio tasks that write the same rows through the same group commit, without
machine, context and decisions. Rounds alternate; medians are printed.

    python -m benchmarks.engine [--instances 400] [--concurrency 50] [--rounds 5] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import orjson

from orchestrator import Event, Options, Outcome, Repeat, Secret, State, Step, Vault, Workflow, done, open_store, start
from orchestrator.storage.base import Store
from orchestrator.storage.records import Checkpoint, Save, Shard

STATES = 15
CONTEXT_BYTES = 2000


@attrs.frozen(kw_only=True)
class Context:
    """A context of about 2 kB, with a secret."""

    text: str = "x" * (CONTEXT_BYTES - 300)
    counter: int = 0
    names: tuple[str, ...] = tuple(f"name-{n}" for n in range(10))
    secret: Secret = attrs.field(factory=lambda: Secret("s" * 40))


class _NoOp(State[Context, None]):
    repeat = Repeat.FREELY

    async def run(self, step: Step[Context, None]) -> Outcome[Context]:
        return done(attrs.evolve(step.context, counter=step.context.counter + 1))


def _states() -> tuple[State[Context, None], ...]:
    states = []
    for number in range(STATES):
        target = f"step_{number + 1}" if number + 1 < STATES else "completed"
        states.append(type(f"Step{number}", (_NoOp,), {"name": f"step_{number}", "transitions": {"done": target}})())
    return tuple(states)


@asynccontextmanager
async def _no_services(settings: object, opening: object) -> AsyncIterator[None]:
    yield None


WORKFLOW: Workflow[Context, None] = Workflow(
    name="no-op",
    context=Context,
    states=_states(),
    initial_context=lambda run_id, number, settings: Context(),
    open_services=_no_services,
)


async def engine(store: Store, instances: int, concurrency: int) -> None:
    """Run the engine."""
    options = Options(vault=Vault(bytes(32), "the benchmark"))
    async with start(WORKFLOW, store=store, instances=instances, concurrency=concurrency, options=options) as run:
        await run.wait()


Written = tuple[Checkpoint, Any, list[Event]]
"""The data that an instance writes in one step: the checkpoint, the data in its body, and the events."""


async def recorded(store: Store) -> tuple[Shard, list[Written]]:
    """Run one instance, and return its writes, under a claim that continues."""
    recorder = _Recorder()
    options = Options(vault=Vault(bytes(32), "the benchmark"))
    async with start(WORKFLOW, store=recorder.wrap(store), options=options) as run:
        await run.wait()
    assert recorder.shard is not None
    return recorder.shard, [(checkpoint, orjson.loads(checkpoint.body), events) for checkpoint, events in recorder.saves]


def save_of(shard: Shard, number: int, step: Written) -> Save:
    """The same save for another instance."""
    checkpoint, data, events = step
    row = Checkpoint(
        run_id=shard.run_id,
        number=number,
        status=checkpoint.status,
        position=checkpoint.position,
        updated_at=checkpoint.updated_at,
        not_before=None,
        body=orjson.dumps(data),
    )
    return Save(shard, row, [attrs.evolve(event, number=number) for event in events])


async def floor(store: Store, instances: int, concurrency: int) -> None:
    """Create and write the same rows, as often, through the same commit."""
    shard, steps = await recorded(store)
    numbers = iter(range(1, instances + 1))

    async def worker() -> None:
        for number in numbers:
            for step in steps:
                await store.save(save_of(shard, number, step))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(worker())


class _Recorder:
    """Records the rows that one real instance writes."""

    def __init__(self) -> None:
        self.saves: list[tuple[Checkpoint, list[Event]]] = []
        self.shard: Shard | None = None

    def wrap(self, store: Store) -> Any:
        recorder = self

        class Wrapped:
            where = store.where

            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

            async def save(self, save: Save) -> None:
                recorder.shard = save.shard
                recorder.saves.append((save.checkpoint, list(save.events)))
                await store.save(save)

            async def release(self, *_: Any) -> None:
                pass  # the lower bound continues with the same epoch

        return Wrapped()


Measured = tuple[float, float]
"""Steps per second, and CPU in µs per step."""


@asynccontextmanager
async def new_file() -> AsyncIterator[Store]:
    """A new SQLite store."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(f"sqlite:{Path(folder) / 'runs.db'}") as store:
            yield store


def measure(
    work: Callable[[Store, int, int], Awaitable[None]],
    instances: int,
    concurrency: int,
    opened: Callable[[], AbstractAsyncContextManager[Store]] = new_file,
) -> Measured:
    """Measure one round on a new store."""

    async def run() -> Measured:
        async with opened() as store:
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            await work(store, instances, concurrency)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        steps = instances * STATES
        return steps / wall, cpu / steps * 1e6

    return asyncio.run(run())


def show(rounds: Mapping[str, Sequence[Measured]]) -> None:
    """Print medians and the range."""
    for name, values in rounds.items():
        rates, cpus = [v[0] for v in values], [v[1] for v in values]
        print(
            f"{name:10} {statistics.median(rates):8.0f} steps/s [{min(rates):.0f}-{max(rates):.0f}]   "
            f"{statistics.median(cpus):6.0f} µs CPU per step [{min(cpus):.0f}-{max(cpus):.0f}]"
        )


def main() -> None:
    """Alternate rounds, then print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="profile one round of the engine instead")
    args = parser.parse_args()
    if args.profile:
        with cProfile.Profile() as profile:
            measure(engine, args.instances, args.concurrency)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    measure(engine, 50, args.concurrency)
    rounds: dict[str, list[Measured]] = {"floor": [], "engine": []}
    for _ in range(args.rounds):
        rounds["floor"].append(measure(floor, args.instances, args.concurrency))
        rounds["engine"].append(measure(engine, args.instances, args.concurrency))
    print(f"{STATES} states, {args.instances} instances, {args.concurrency} concurrent, {args.rounds} rounds, medians [min-max]")
    show(rounds)
    ratios = [e[0] / f[0] for e, f in zip(rounds["engine"], rounds["floor"], strict=True)]
    print(f"ratio of steps per second, engine to floor: {statistics.median(ratios):.2f} (goal: at least 0.5)")


if __name__ == "__main__":
    main()
