"""Cost of the PostgreSQL store: durable steps of one process, against three bounds measured in the same run.

* ``statements``: the same statements, whose values were made before, in full batches on one connection.
* ``floor``: the same rows through the same group commit, without the engine (see :mod:`benchmarks.engine`).
* ``sqlite``: the engine on an SQLite file.

Rounds alternate; medians are printed. CPU is that of this process, without the server.

    python -m benchmarks.postgresql postgresql://HOST/DATABASE [--instances 400] [--concurrency 50] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from benchmarks.engine import STATES, Measured, engine, floor, measure, recorded, save_of, show
from orchestrator import open_store
from orchestrator.storage.base import Store
from orchestrator.storage.postgresql.address import Address
from orchestrator.storage.postgresql.saving import statement
from orchestrator.storage.postgresql.session import Link, Session


@asynccontextmanager
async def new_schema(url: str) -> AsyncIterator[Store]:
    """A store in a new schema, which is dropped afterwards."""
    schema = f"benchmark_{os.urandom(4).hex()}"
    async with open_store(f"{url}{'&' if '?' in url else '?'}schema={schema}") as store:
        yield store
        await _on_connection(store, lambda link: link.db.execute(f"DROP SCHEMA {schema} CASCADE"))


async def _on_connection(store: Store, work: Callable[[Link], Awaitable[object]]) -> None:
    """Call ``work`` with a connection to the schema of a store."""
    assert store.url is not None
    session = Session(Address.parse(store.url, os.environ), store.timeout_s, None)
    await session.open()
    try:
        await session.read(work)
    finally:
        await session.close()


def measure_statements(url: str, instances: int, concurrency: int) -> Measured:
    """Execute the statements one after another."""

    async def run() -> Measured:
        async with new_schema(url) as store:
            shard, steps = await recorded(store)
            parts = [range(first, min(first + concurrency, instances + 1)) for first in range(1, instances + 1, concurrency)]
            batches = [statement([save_of(shard, number, step) for number in part]) for part in parts for step in steps]

            taken = [0.0, 0.0]

            async def execute(link: Link) -> None:
                wall, cpu = time.perf_counter(), time.process_time()
                for sql, values in batches:
                    await link.db.fetch(sql, *values)
                taken[:] = time.perf_counter() - wall, time.process_time() - cpu

            await _on_connection(store, execute)
        wall, cpu = taken
        return instances * STATES / wall, cpu / (instances * STATES) * 1e6

    return asyncio.run(run())


def main() -> None:
    """Alternate rounds, then print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    size = (args.instances, args.concurrency)
    opened = partial(new_schema, args.url)
    measure(engine, 50, args.concurrency, opened)
    rounds: dict[str, list[Measured]] = {"statements": [], "floor": [], "postgresql": [], "sqlite": []}
    for _ in range(args.rounds):
        rounds["statements"].append(measure_statements(args.url, *size))
        rounds["floor"].append(measure(floor, *size, opened))
        rounds["postgresql"].append(measure(engine, *size, opened))
        rounds["sqlite"].append(measure(engine, *size))
    print(f"{STATES} states, {args.instances} instances, {args.concurrency} concurrent, {args.rounds} rounds, medians [min-max]")
    show(rounds)
    for bound in ("statements", "floor", "sqlite"):
        ratios = [e[0] / f[0] for e, f in zip(rounds["postgresql"], rounds[bound], strict=True)]
        print(f"ratio of steps per second, postgresql to {bound}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
