"""Runs on worker processes and on a cluster, whose processes and database are killed, ended or frozen at random moments. Each seed
makes the same choices; milliseconds depend on the machine. For a campaign:

    pytest -s tests/crash/test_lives.py -k 'load and sqlite' --runs 17 --hits 6 --instances 500 --first-seed 0
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from states.sandbox import OPERATIONS, SandboxSettings, parse_faults, serve
from tests.crash.life import Life, Scene
from tests.crash.witness import WatchedSandbox
from tests.support.postgresql import Server
from tests.support.tenant import signing_key

KINDS = ("load", "soak")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run one test per life."""
    first, runs = metafunc.config.getoption("--first-seed"), metafunc.config.getoption("--runs")
    metafunc.parametrize("seed", range(first, first + (runs or 1)))
    if "kind" in metafunc.fixturenames:
        # The suite plays each kind once.
        metafunc.parametrize("kind", KINDS if runs else [KINDS["server" in metafunc.fixturenames]])


@asynccontextmanager
async def watched(seed: int) -> AsyncIterator[WatchedSandbox]:
    """A sandbox that takes a while for each answer."""
    emulator = WatchedSandbox(SandboxSettings(seed=seed), faults=parse_faults("*:latency=0.01", OPERATIONS), key=signing_key())
    async with serve(emulator):
        yield emulator


@pytest.fixture
def options(request: pytest.FixtureRequest) -> pytest.Config:
    """The size of the campaign."""
    return request.config


async def play(home: Path, seed: int, options: pytest.Config, kind: str, server: Server | None, *, cluster: bool = False) -> None:
    random, instances = Random(seed), options.getoption("--instances")
    schema = f"life_{secrets.token_hex(4)}"
    store = f"sqlite:{home / 'runs.db'}" if server is None else f"{server.url}&schema={schema}"
    concurrency = random.randrange(8, 41) if instances > 100 else random.randrange(4, 13)
    closed = ("--instances", str(instances))
    soak = ("--duration", f"{4 + instances / 50:g}s", "--rounds", "endless", "--think-time", "50ms-300ms")
    async with watched(seed) as emulator:
        scene = Scene(
            home=home,
            emulator=emulator,
            store=store,
            schema=schema,
            load=(*(closed if kind == "load" else soak), "--concurrency", str(concurrency)),
            instances=instances if kind == "load" else None,
            hits=options.getoption("--hits"),
            pause_s=4.0,
            server=server,
            cluster=cluster,
        )
        life = Life(scene, random)
        try:
            played = await life.play()
        except BaseException:
            print(f"seed {seed}: {kind} on {store}", *life.said().splitlines(), sep="\n  ")
            raise
    print(
        f"LIFE {kind} {'cluster' if cluster else 'processes'} {'sqlite' if server is None else 'postgresql'} seed {seed}: "
        f"{len(played.hits)} hits, {played.launches} launches; again after {[round(one, 2) for one in played.again]}; "
        f"{'; '.join(map(str, played.hits))}"
    )


async def test_processes_on_sqlite(home: Path, options: pytest.Config, seed: int, kind: str) -> None:
    await play(home, seed, options, kind, None)


async def test_processes_on_postgresql(home: Path, options: pytest.Config, seed: int, kind: str, server: Server) -> None:
    await play(home, seed, options, kind, server)


async def test_a_cluster_on_postgresql(home: Path, options: pytest.Config, seed: int, server: Server) -> None:
    await play(home, seed, options, "load", server, cluster=True)
