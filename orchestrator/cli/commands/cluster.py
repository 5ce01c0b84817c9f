"""The command ``cluster``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from orchestrator.cli.console import stdout
from orchestrator.cli.settings import parse_processes
from orchestrator.cluster.address import ClusterAddress, parse_cluster
from orchestrator.cluster.certificates import TlsFiles, make_certificates
from orchestrator.cluster.configuration import DEFAULT_TTL_S, as_environment, configuration
from orchestrator.errors import ConfigurationError, SettingError
from orchestrator.lifecycle.events import Observer
from orchestrator.report.exit_codes import ExitCode

PORT = 8786
WORKER_WAITS_S = 60
"""How long a worker waits for its scheduler before it ends."""


async def command(
    observers: Sequence[Observer],
    *,
    action: str | None = None,
    where: str | None = None,
    tls: str | None = None,
    host: str | None = None,
    port: int = PORT,
    scheduler_file: str | None = None,
    processes: str = "auto",
    no_nanny: bool = False,
) -> int:
    """Prepare a cluster of machines: its certificates, its scheduler, its workers.

    ACTION is certs, scheduler or worker. `certs FOLDER` makes certificates; copy the folder to every machine. `scheduler` runs in
    the foreground, on one machine. `worker ADDRESS` runs on each machine; ADDRESS may be the scheduler's file. Then a run is
    driven by the workers with --cluster. A holder of the certificates can run code on all machines.

    Examples:
      orchestrator cluster certs tls
      orchestrator cluster scheduler --tls tls
      orchestrator cluster worker tls://node1:8786 --tls tls --processes auto
      orchestrator load --instances 100000 --concurrency 1000 --cluster tls://node1:8786 --cluster-tls tls
    """
    if action == "certs":
        return _certs(where)
    if action == "scheduler":
        return _scheduler(tls, host, port, scheduler_file)
    if action == "worker":
        return _worker(where or scheduler_file, tls, processes, host, nanny=not no_nanny)
    raise ConfigurationError("name an action: orchestrator cluster certs, scheduler or worker (see --help)")


def _certs(where: str | None) -> int:
    if where is None:
        raise ConfigurationError("name a folder for the certificates: orchestrator cluster certs FOLDER")
    files = make_certificates(Path(where).expanduser())
    stdout().print(f"written: {files.authority}, {files.certificate}, {files.key}")
    stdout().print("Copy the folder to every machine of the cluster. Its holder can run code on all of them.")
    return ExitCode.SUCCESS


def _scheduler(tls: str | None, host: str | None, port: int, scheduler_file: str | None) -> int:
    files = TlsFiles(Path(tls).expanduser()).check() if tls is not None else None
    address = host or ("0.0.0.0" if files is not None else "127.0.0.1")  # noqa: S104  # with certificates, the port is protected
    protocol = "tls" if files is not None else "tcp"
    ClusterAddress(f"{protocol}://{address}:{port}", files)
    argv = ["distributed.cli.dask_scheduler", "--host", address, "--port", str(port), "--protocol", protocol]
    # Only the health route is served, on loopback.
    argv += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0", *(files.flags if files is not None else ())]
    argv += ["--scheduler-file", scheduler_file] if scheduler_file is not None else []
    return _become(argv, configuration(DEFAULT_TTL_S), encrypted=files is not None)


def _worker(where: str | None, tls: str | None, processes: str, host: str | None, *, nanny: bool) -> int:
    if where is None:
        raise ConfigurationError("name the scheduler: orchestrator cluster worker tls://HOST:8786")
    address = parse_cluster(where, tls)
    try:
        count = parse_processes(processes)
    except ValueError as error:
        raise SettingError("processes", str(error)) from error
    if not nanny and count > 1:
        raise SettingError("no-nanny", "one process restarts nobody: start one per container, or leave the flag out")
    argv = ["distributed.cli.dask_worker", address.url, "--nworkers", str(count), "--nthreads", "1", "--memory-limit", "0"]
    argv += ["--preload", "orchestrator.cluster.preload", "--death-timeout", str(WORKER_WAITS_S), "--no-dashboard"]
    argv += ["--dashboard-address", "127.0.0.1:0", "--nanny" if nanny else "--no-nanny"]
    argv += ["--host", host] if host is not None else []
    argv += address.tls.flags if address.tls is not None else []
    return _become(argv, configuration(DEFAULT_TTL_S), encrypted=address.tls is not None)


def _become(argv: Sequence[str], settings: Mapping[str, object], *, encrypted: bool) -> int:
    """Replace this process by a command of Dask."""
    if find_spec("distributed") is None:
        raise ConfigurationError("a cluster needs Dask: pip install 'token-fulfillment-orchestrator[dask]'")
    environ = as_environment({**settings, "distributed.comm.require-encryption": encrypted, "logging.distributed": "warning"})
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", *argv], {**os.environ, **environ})  # noqa: S606  # without a shell
