"""Cost of telemetry in a load run: the same run without it, with metrics that are scraped every second, with logs, and with traces at several
sampling ratios that are sent to a receiver in another process.

As in `benchmarks.load`, the marginal CPU of a request is measured, and rounds alternate. A ratio is that of two runs of the same round, so
that a busy machine slows both. "off again" is a second run without telemetry: its ratio shows the noise. A target is kept, or missed, if the
middle half of the ratios lies on one side of it; otherwise the noise is too large for a verdict, and more rounds help.

    python -m benchmarks.telemetry [--instances 300] [--concurrency 50] [--rounds 9] [--only off traces-1]
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.http import STEPS
from benchmarks.load import FEW, load_argv, variables
from benchmarks.server import cheap_server

CONTENDERS: Mapping[str, float | None] = {
    "off": None,
    "off again": None,
    "metrics": None,
    "logs": None,
    "traces-1": 0.01,
    "traces-10": 0.1,
    "traces-100": 1.0,
}
"""Name → share of the instances that is traced."""
TARGETS = {"traces-1": 1.03, "traces-100": 1.40}
"""Name → the ratio to a run without telemetry that must be kept."""


class _Sink(BaseHTTPRequestHandler):
    """Takes every request and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the body, and answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """No log."""


@contextmanager
def receiver() -> Iterator[str]:
    """A receiver of OTLP in another process; its URL."""
    command = [sys.executable, "-m", "benchmarks.telemetry", "--sink"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": _root()})
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """Scrape the metrics every second."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(1.0):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _root() -> str:
    return str(Path(__file__).parent.parent)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def cpu(name: str, server: tuple[str, str], url: str, instances: int, concurrency: int) -> float:
    """CPU seconds of one load run."""
    argv = load_argv(instances, concurrency)
    env, port = dict(variables(*server, instances, concurrency)), _free_port()
    if name == "metrics":
        argv += ["--metrics", str(port)]
    if name == "logs":
        argv += ["--log-format", "json"]
    if (share := CONTENDERS[name]) is not None:
        env |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_TRACES_SAMPLER": "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(share),
        }
    with tempfile.TemporaryDirectory() as folder, scraped(port), (Path(folder) / "out").open("wb") as out:
        with (Path(folder) / "err").open("wb") as err:
            process = subprocess.Popen([sys.executable, "-m", "orchestrator", *argv], cwd=folder, env=env, stdout=out, stderr=err)
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said = (Path(folder) / "err").read_text()
        if process.returncode or "OTLP" in said:
            raise SystemExit(f"{name} failed:\n{said[-2000:]}")
    return used.ru_utime + used.ru_stime


def marginal(name: str, server: tuple[str, str], url: str, instances: int, concurrency: int) -> float:
    """CPU in µs per request."""
    few, many = (cpu(name, server, url, count, concurrency) for count in (FEW, FEW + instances))
    return (many - few) / (instances * STEPS) * 1e6


def report(found: Mapping[str, Sequence[float]]) -> None:
    """Medians, and the ratios of the same round."""
    base = next(iter(found))
    for name, costs in found.items():
        ratios = sorted(cost / other for cost, other in zip(costs, found[base], strict=True))
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        print(
            f"{name:11} {statistics.median(costs):6.0f} µs of CPU per request [{min(costs):.0f}-{max(costs):.0f}], "
            f"{statistics.median(ratios):.3f} times {base} [half of them {low:.3f}-{high:.3f}]{verdict(name, low, high)}"
        )


def verdict(name: str, low: float, high: float) -> str:
    """Whether a target is kept, by the quartiles of the ratios."""
    target = TARGETS.get(name)
    if target is None:
        return ""
    said = "kept" if high < target else "MISSED" if low > target else "not decided: too much noise"
    return f", target {target:g}: {said}"


def main() -> None:
    """Alternate rounds, then print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS))
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sink:
        with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as sink:
            print(f"http://127.0.0.1:{sink.server_address[1]}", flush=True)
            sink.serve_forever()
        return
    names = args.only or list(CONTENDERS)
    found: dict[str, list[float]] = {name: [] for name in names}
    with cheap_server() as server, receiver() as url:
        for number in range(args.rounds):
            # Each round begins with another variant, because the first one finds the machine in another state.
            for name in (*names[number % len(names) :], *names[: number % len(names)]):
                found[name].append(marginal(name, server, url, args.instances, args.concurrency))
            print(f"round {number + 1} of {args.rounds}, {time.strftime('%H:%M:%S')}", file=sys.stderr)
    print(f"{STEPS} requests, {args.instances} instances, {args.concurrency} concurrent, {args.rounds} rounds, medians [min-max]")
    report(found)


if __name__ == "__main__":
    main()
