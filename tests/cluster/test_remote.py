"""Clusters of several machines: addresses, certificates, the handshake; and a real scheduler with a real worker on loopback."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

from orchestrator import ClusterError, RunStatus, SettingError, Status, dask_cluster, open_store, resume, start
from orchestrator.cluster.address import ClusterAddress, parse_cluster
from orchestrator.cluster.certificates import TlsFiles, make_certificates
from orchestrator.cluster.configuration import as_environment, configuration, ttl_for
from orchestrator.cluster.handshake import compare, describe
from tests.support.pool import WORKFLOW
from tests.support.waiting import until


@pytest.mark.parametrize(
    "url",
    ["tcp://10.0.0.1:8786", "tcp://0.0.0.0:8786", "tcp://node1:8786", "http://127.0.0.1:8786", "tls://node1", "tcp://[::1", "x"],
)
def test_an_address_that_is_not_encrypted_or_not_possible_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="cluster"):
        ClusterAddress(url)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786"])
def test_an_address_of_this_machine_needs_no_certificates(url: str) -> None:
    assert ClusterAddress(url).is_local


def test_an_encrypted_address_needs_certificates(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="needs certificates"):
        parse_cluster("tls://node1:8786", None)
    with pytest.raises(SettingError, match="cannot be read"):
        parse_cluster("tls://node1:8786", str(tmp_path))
    make_certificates(tmp_path / "tls")
    assert not parse_cluster("tls://node1:8786", str(tmp_path / "tls")).is_local


def test_a_scheduler_file_names_the_address(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    for content in ("", "[]", "{}"):
        file.write_text(content)
        with pytest.raises(SettingError, match="scheduler file"):
            parse_cluster(str(file), None)
    file.write_text('{"address": "tcp://127.0.0.1:8786"}')
    assert parse_cluster(str(file), None).url == "tcp://127.0.0.1:8786"


def test_only_a_database_serves_several_machines_and_no_password_travels(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    here, there = ClusterAddress("tcp://127.0.0.1:8786"), parse_cluster("tls://node1:8786", str(tmp_path))
    here.check_store("sqlite:runs.db", ["tcp://127.0.0.1:4711"])
    there.check_store("postgresql:///?service=orchestrator", ["tls://node2:4711"])
    for address, workers in ((there, []), (here, ["tls://node2:4711"])):
        with pytest.raises(SettingError, match="an SQLite file serves one machine"):
            address.check_store("sqlite:runs.db", workers)
    with pytest.raises(SettingError, match="PGPASSFILE") as refused:
        there.check_store("postgresql://user:geheim@db/runs", [])
    assert "geheim" not in str(refused.value)


def test_the_certificates_are_private_and_never_replaced(tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls")
    for path in (files.authority, files.certificate, files.key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = files.key.read_bytes()
    with pytest.raises(SettingError, match="holds certificates already"):
        make_certificates(tmp_path / "tls")
    assert files.key.read_bytes() == before


def test_a_worker_that_differs_is_refused_by_name() -> None:
    here = describe("token-fulfillment")
    compare(here, {"tls://a:1": here})
    for part in here:
        with pytest.raises(ClusterError, match=f"{part} of the worker tls://b:1 differs"):
            compare(here, {"tls://a:1": here, "tls://b:1": here | {part: "other"}})
    assert "no workflow is called" in describe("missing")["the workflow"]


def test_the_configuration_as_environment_is_what_dask_reads() -> None:
    import dask

    settings = configuration(ttl_for(30.0))
    read = dask.config.collect_env(as_environment(settings))
    assert dask.config.get("distributed.scheduler.allowed-failures", config=read) == 0
    assert dask.config.get("distributed.scheduler.http.routes", config=read) == ["distributed.http.health"]
    assert dask.config.get("distributed.worker.memory.terminate", config=read) is False


async def test_an_embedding_program_uses_the_cluster_that_it_has(home: Path) -> None:
    options: dict[str, Any] = {"processes": False, "dashboard_address": ":0", "asynchronous": True}
    async with (
        LocalCluster(n_workers=2, threads_per_worker=1, **options) as cluster,
        Client(cluster, asynchronous=True) as client,
        open_store(f"sqlite:{home / 'runs.db'}") as store,
        start(WORKFLOW, store=store, instances=40, concurrency=4, cluster=dask_cluster(client)) as run,
    ):
        assert (await run.wait()).status is RunStatus.FINISHED
        assert len(await store.shards(run.id)) == 4


async def test_a_worker_with_several_threads_is_refused(home: Path) -> None:
    options: dict[str, Any] = {"processes": False, "dashboard_address": ":0", "asynchronous": True}
    async with (
        LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster,
        Client(cluster, asynchronous=True) as client,
        open_store(f"sqlite:{home / 'runs.db'}") as store,
    ):
        with pytest.raises(ClusterError, match="has 2 threads"):
            async with start(WORKFLOW, store=store, cluster=dask_cluster(client)):
                pass
        assert not (await store.runs()).runs


@pytest.mark.parametrize("losses", [1, 1000])
async def test_a_worker_that_is_lost_while_it_is_asked_is_asked_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, losses: int
) -> None:
    asked = 0

    options: dict[str, Any] = {"processes": False, "dashboard_address": ":0", "asynchronous": True}
    async with (
        LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster,
        Client(cluster, asynchronous=True) as client,
        open_store(f"sqlite:{home / 'runs.db'}") as store,
    ):
        ask = client.run

        async def lossy(*args: Any, **more: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked <= losses:
                raise CommClosedError("ConnectionPool closing.")
            return await ask(*args, **more)

        monkeypatch.setattr(client, "run", lossy)
        started = start(WORKFLOW, store=store, instances=2, cluster=dask_cluster(client))
        if losses == 1:
            async with started as run:
                assert (await run.wait()).status is RunStatus.FINISHED
        else:
            with pytest.raises(ClusterError, match="or one of its workers is gone"):
                async with started as run:
                    await run.wait()


@asynccontextmanager
async def command(*argv: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A command of ours in the background, in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *argv],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def test_a_real_cluster_with_certificates_drives_a_run_and_refuses_strangers(home: Path) -> None:
    make_certificates(home / "tls")
    make_certificates(home / "foreign")
    file, tls = str(home / "scheduler.json"), str(home / "tls")
    async with command("cluster", "scheduler", "--tls", tls, "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file):
        await until(lambda: Path(file).exists())
        async with (
            command("cluster", "worker", file, "--tls", tls, "--processes", "1", "--no-nanny"),
            open_store(f"sqlite:{home / 'runs.db'}") as store,
        ):
            with pytest.raises(ClusterError, match="cannot be reached"):
                async with start(WORKFLOW, store=store, cluster=dask_cluster(file, tls=TlsFiles(home / "foreign").folder)):
                    pass
            async with start(WORKFLOW, store=store, instances=4, cluster=dask_cluster(file, tls=tls)) as run:
                assert (await run.wait()).status is RunStatus.FINISHED


async def test_a_lost_scheduler_interrupts_a_run_that_can_be_resumed(home: Path) -> None:
    file = str(home / "scheduler.json")
    async with (
        command("cluster", "scheduler", "--port", "0", "--scheduler-file", file) as scheduler,
        open_store(f"sqlite:{home / 'runs.db'}") as store,
    ):
        await until(lambda: Path(file).exists())
        async with command("cluster", "worker", file, "--processes", "1", "--no-nanny"):
            with pytest.raises(ClusterError, match="the scheduler of the cluster is gone"):
                async with start(WORKFLOW, store=store, instances=60, rates={"g": 20.0}, cluster=dask_cluster(file)) as run:
                    await until(partial(store.counts, run.id))
                    scheduler.kill()
                    await run.wait()

            async def is_given_up() -> bool:
                return all(shard.owner is None for shard in await store.shards(run.id))

            await until(is_given_up)  # the worker notices, too
        async with resume(WORKFLOW, run.id, store=store) as again:
            assert (await again.wait()).counts == {Status.COMPLETED: 60}


def test_a_program_without_a_guard_is_told_so(home: Path) -> None:
    program = home / "program.py"
    program.write_text(
        "import asyncio\n"
        "from orchestrator import open_store, start\n"
        "from states.token_fulfillment import WORKFLOW, TokenFulfillmentSettings\n"
        "async def main():\n"
        "    async with open_store('sqlite:runs.db') as store:\n"
        "        async with start(WORKFLOW, TokenFulfillmentSettings(), store=store, processes=2) as run:\n"
        "            await run.wait()\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False, cwd=home, timeout=120)
    assert ended.returncode == 1
    assert 'must guard its own start with `if __name__ == "__main__":`' in ended.stderr
