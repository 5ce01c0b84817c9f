"""Cost of a load run, from the start of its process to its end: `orchestrator load` with durable checkpoints, statistics, progress
lines and summary, against bare scripts that store nothing, and against k6 and Locust where they are installed.

Each contender runs in its own process, on uvloop if it is Python, against the same cheap server, and sends the same 15 requests. It runs
once with few instances and once with many; the difference in CPU, divided by the difference in requests, is the marginal CPU of a request.
It excludes start-up (reported separately) and includes the end. Rounds alternate.

    script   aiohttp's ClientSession, hand-written
    direct   the same script on the transport of our client
    load     the program
    k6       if `k6` is found beside Python, or on the path
    locust   if `locust` is found (its FastHttpUser)

    python -m benchmarks.load [--instances 1000] [--concurrency 50] [--rounds 5] [--profile] [--only script load]
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import anyio
import orjson

from benchmarks import http
from benchmarks.http import STEPS, chains
from benchmarks.server import cheap_server
from orchestrator.cli import entry
from orchestrator.storage.encryption import new_key
from states.http.reply import Reply
from states.http.transport import open_transport

FEW = 50
"""Instances of the small run, whose CPU is subtracted."""
FILES = Path(__file__).parent / "peers"


class _Call:
    """A request on our transport with the interface of aiohttp's."""

    def __init__(
        self, send: Any, method: str, url: str, *, json: Any = None, data: Any = None, params: Any = None, **more: Any
    ) -> None:
        self._send, self._method, self._headers = send, method, dict(more.get("headers") or {})
        self._url = f"{url}?{urlencode(params)}" if params else url
        self._body: bytes | None = None
        if json is not None:
            self._body = orjson.dumps(json)
            self._headers.setdefault("Content-Type", "application/json")
        elif data is not None:
            self._body = urlencode(data).encode()
            self._headers["Content-Type"] = "application/x-www-form-urlencoded"

    async def __aenter__(self) -> Self:
        self._reply: Reply = await self._send(self._method, self._url, self._headers, self._body)
        self.status, self.headers = self._reply.status, self._reply.headers
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    @property
    def cookies(self) -> SimpleCookie:
        """Cookies of the response."""
        return SimpleCookie(self.headers.get("Set-Cookie", ""))

    async def json(self) -> Any:
        """Body of the response."""
        return orjson.loads(self._reply.body)


class _Direct:
    """Our transport with the interface of a session."""

    def __init__(self, send: Any) -> None:
        self._send = send

    def __getattr__(self, method: str) -> Callable[..., _Call]:
        return lambda url, **more: _Call(self._send, method.upper(), url, **more)


async def direct(base: str, environment: str, instances: int, concurrency: int) -> None:
    """Run the script on our transport."""
    async with open_transport(lambda: None) as send:
        await chains(_Direct(send), base, environment, instances, concurrency)


SCRIPTS = {"script": http.script, "direct": direct}


def command_of(
    name: str, base: str, environment: str, instances: int, concurrency: int, processes: str = "1"
) -> list[str] | None:
    """The command of a contender; ``None``: not installed."""
    if name in SCRIPTS:
        return [sys.executable, "-m", "benchmarks.load", "--child", name, base, environment, str(instances), str(concurrency)]
    if name == "load":
        return [sys.executable, "-m", "orchestrator", *load_argv(instances, concurrency), "--processes", processes]
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        return None
    if name == "k6":
        return [found, "run", "--quiet", "--no-usage-report", str(FILES / "chain.js")]
    many = ["-u", str(concurrency), "-r", str(concurrency), "--host", base]
    return [found, "-f", str(FILES / "chain_locust.py"), "--headless", "--only-summary", *many]


def load_argv(instances: int, concurrency: int) -> list[str]:
    """The arguments of a load run that keeps its objects."""
    return [
        "load",
        "--instances",
        str(instances),
        "--concurrency",
        str(concurrency),
        "--on-success",
        "keep",
        "--store",
        "runs.db",
    ]


def variables(base: str, environment: str, instances: int, concurrency: int) -> Mapping[str, str]:
    """Environment variables with the server's address, for the program and for the peers."""
    return os.environ | {
        "PINGONE_BASE_URL": base,
        "PINGONE_ENVIRONMENT_ID": environment,
        "PINGONE_CLIENT_ID": "w",
        "PINGONE_CLIENT_SECRET": "w" * 20,
        "ORCHESTRATOR_KEY": new_key(),
        "CHAIN_INSTANCES": str(instances),
        "CHAIN_CONCURRENCY": str(concurrency),
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }


def run(name: str, server: tuple[str, str], instances: int, concurrency: int, processes: str = "1") -> tuple[float, float]:
    """CPU seconds and seconds of a command and its processes, from its start to its end."""
    command = command_of(name, *server, instances, concurrency, processes)
    assert command is not None
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "output").open("wb") as output:
        began = time.monotonic()
        env = variables(*server, instances, concurrency)
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{name} failed:\n{(Path(folder) / 'output').read_text()[-2000:]}")
        return used.ru_utime + used.ru_stime, time.monotonic() - began


def marginal(name: str, server: tuple[str, str], instances: int, concurrency: int) -> tuple[float, float]:
    """CPU in µs per request, and CPU seconds of the process with few instances."""
    few, _ = run(name, server, FEW, concurrency)
    many, _ = run(name, server, FEW + instances, concurrency)
    return (many - few) / (instances * STEPS) * 1e6, few


def profile(server: tuple[str, str], instances: int, concurrency: int) -> None:
    """Profile one load run in this process."""
    with tempfile.TemporaryDirectory() as folder, cProfile.Profile() as profiler:
        os.environ.update(variables(*server, instances, concurrency))
        os.chdir(folder)
        entry(load_argv(instances, concurrency))
    pstats.Stats(profiler).sort_stats("tottime").print_stats(45)


def main() -> None:
    """Alternate rounds, then print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=["script", "direct", "load", "k6", "locust"])
    parser.add_argument("--profile", action="store_true", help="profile one load run instead")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, base, environment, instances, concurrency = args.child
        anyio.run(SCRIPTS[name], base, environment, int(instances), int(concurrency), backend_options={"use_uvloop": True})
        return
    with cheap_server() as server:
        if args.profile:
            profile(server, args.instances, args.concurrency)
            return
        names = args.only or ["script", "direct", "load", "k6", "locust"]
        names = [name for name in names if command_of(name, *server, 1, 1)]
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for _ in range(args.rounds):
            for name in names:
                rounds[name].append(marginal(name, server, args.instances, args.concurrency))
    print(f"{STEPS} requests, {args.instances} instances, {args.concurrency} concurrent, {args.rounds} rounds, medians [min-max]")
    for name, found in rounds.items():
        costs, few = [cost for cost, _ in found], statistics.median(few for _, few in found)
        ratios = [one / other for (one, _), (other, _) in zip(found, rounds[names[0]], strict=True)]
        print(
            f"{name:8} {statistics.median(costs):6.0f} µs of CPU per request [{min(costs):.0f}-{max(costs):.0f}], "
            f"{statistics.median(ratios):.2f} times {names[0]}; {few:.2f} s of CPU with {FEW} instances"
        )


if __name__ == "__main__":
    main()
