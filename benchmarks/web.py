"""Cost of the web page: how long its pages take, by the number of instances in the store, and the cost of an open page for a running load.

pages      milliseconds of each page over a socket, with few instances in the store and with many
watched    CPU time of `orchestrator load --web` with a page open, divided by that without one. The load is CPU-bound: it sends its
           requests to a cheap server as fast as it can. Rounds alternate.
share      CPU time that the streams of an open page took on the event loop, divided by that of the whole process, which drives the same
           load. It is counted step by step, so that other programs of the machine hardly disturb it; reads of the store in its thread
           and the page itself, which is rendered once, are left out.

python -m benchmarks.web [--instances 100000] [--rounds 5] [--load 1500] [--only pages watched share]
"""

from __future__ import annotations

import argparse
import io
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from http.cookiejar import CookieJar
from pathlib import Path
from unittest.mock import patch

import aiohttp
import anyio

from benchmarks.ending import WORKFLOW, fill
from benchmarks.load import variables
from benchmarks.server import cheap_server
from orchestrator import Vault, cli, open_store
from orchestrator.web import events
from orchestrator.web.drives import Drives
from orchestrator.web.measured import CountedRuns
from orchestrator.web.server import serve
from orchestrator.web.settings import WebSettings
from orchestrator.web.site import Site

FEW = 250
CONCURRENCY = 50
TARGET = 0.03
"""The share of a running load's CPU that an open page may take."""
TOKEN = "the-token-of-the-benchmark"
PAGES = {
    "runs": "/",
    "run": "/runs/{run}",
    "charts": "/runs/{run}/charts",
    "instances": "/runs/{run}/instances?status=completed&after={middle}",
    "instance": "/runs/{run}/instances/0",
}


async def pages(instances: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of each page."""
    vault = Vault(bytes(32), "the benchmark")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        run_id = await fill(path, instances)
        async with open_store(f"sqlite:{path}", create=False) as store:
            site = Site(store=store, vault=vault, drives=Drives(), find_workflow=lambda name: WORKFLOW)
            jar = aiohttp.CookieJar(unsafe=True)
            async with serve(site, WebSettings(port=0)) as served, aiohttp.ClientSession(cookie_jar=jar) as session:
                async with session.get(served.link.reveal()) as answer:
                    assert answer.status == 200
                found: dict[str, list[float]] = {name: [] for name in PAGES}
                for _ in range(rounds + 1):
                    for name, address in PAGES.items():
                        url = served.origin + address.format(run=run_id, middle=instances // 2)
                        site.counted = CountedRuns(store)  # as if nobody had looked at the run before
                        began = time.perf_counter()
                        async with session.get(url) as answer:
                            await answer.read()
                            assert answer.status == 200, url
                        found[name].append(1000 * (time.perf_counter() - began))
                # The first round compiles templates.
                return {name: statistics.median(times[1:]) for name, times in found.items()}


def watch(link: str, stop: threading.Event) -> None:
    """Open the page of the only run, and read its events as a browser does."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    origin = link.partition("/?")[0]
    try:
        with opener.open(link, timeout=60) as answer:
            page = answer.read().decode()
        while (found := re.search(r'href="/runs/([a-z0-9-]+)"', page)) is None:
            time.sleep(0.1)
            with opener.open(f"{origin}/", timeout=60) as answer:
                page = answer.read().decode()
        with opener.open(f"{origin}/runs/{found[1]}/events", timeout=60) as stream:
            while not stop.is_set() and stream.read1(65536):
                pass
    except OSError:
        pass  # the load has ended


def load(server: tuple[str, str], instances: int, *, watched: bool) -> tuple[float, float]:
    """CPU seconds and wall seconds of a load run."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        words = [
            sys.executable,
            "-m",
            "orchestrator",
            "load",
            "--web",
            "0",
            "--instances",
            str(instances),
            "--concurrency",
            str(CONCURRENCY),
        ]
        words += ["--rates", "none", "--on-success", "keep", "--store", f"{folder}/runs.db"]
        env = variables(*server, instances, CONCURRENCY)
        child = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        link = next(line for line in child.stderr if "token=" in line).split()[-1]
        stop = threading.Event()
        viewer = threading.Thread(target=watch, args=(link, stop))
        if watched:
            viewer.start()
        child.stderr.read()
        assert child.wait() == 0
        stop.set()
        if watched:
            viewer.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--load", type=int, default=1500, help="instances of the watched load")
    parser.add_argument("--only", nargs="+", choices=("pages", "watched", "share"), default=("pages", "watched", "share"))
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.watch is not None:
        while True:
            watch(given.watch, threading.Event())
            time.sleep(0.05)
    if "pages" in given.only:
        few, many = (anyio.run(pages, number, given.rounds) for number in (FEW, given.instances))
        print(f"{'page':<12} {FEW:>9,} {given.instances:>9,} instances, ms")
        for name in PAGES:
            print(f"{name:<12} {few[name]:>9.1f} {many[name]:>9.1f}")
    if "share" in given.only:
        report_share(given.load, given.rounds)
    if "watched" in given.only:
        report_watched(given.load, given.rounds)


def share(server: tuple[str, str], instances: int) -> float:
    """The part of the CPU of a load that the stream of its open page took. Drives the load in this process."""
    kept = events.Streams()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        os.environ.update(variables(*server, instances, CONCURRENCY), ORCHESTRATOR_WEB_TOKEN=TOKEN)
        words = ["load", "--web", str(port), "--instances", str(instances), "--concurrency", str(CONCURRENCY)]
        words += ["--rates", "none", "--on-success", "keep", "--store", f"{folder}/runs.db"]
        began = time.process_time()
        viewer = subprocess.Popen([sys.executable, "-m", "benchmarks.web", "--watch", f"http://127.0.0.1:{port}/?token={TOKEN}"])
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), patch.object(events, "Streams", lambda: kept):
            assert cli.main(words) == 0
        spent = time.process_time() - began
        viewer.kill()
        viewer.wait()
    return kept.spent_s / spent


def report_share(instances: int, rounds: int) -> None:
    """Print the share of an open page."""
    with cheap_server() as server:
        found = sorted(share(server, instances) for _ in range(rounds))
    median = statistics.median(found)
    print(f"share of an open page: median {median:.2%} (from {found[0]:.2%} to {found[-1]:.2%}), target < {TARGET:.0%}: ", end="")
    print("kept" if median < TARGET else "MISSED")


def report_watched(instances: int, rounds: int) -> None:
    """Print the cost of an open page."""
    with cheap_server() as server:
        pairs: list[tuple[tuple[float, float], ...]] = []
        for _ in range(rounds):
            pairs.append(tuple(load(server, instances, watched=watched) for watched in (False, True)))
            (alone, _), (watched, seconds) = pairs[-1]
            print(f"alone {alone:.2f} s CPU, with an open page {watched:.2f} s CPU in {seconds:.1f} s: {watched / alone:.3f}")
    ratios = sorted(watched[0] / alone[0] for alone, watched in pairs)
    print(f"median ratio {statistics.median(ratios):.3f} (from {ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
