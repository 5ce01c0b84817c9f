"""A real scrape: the metrics of a load run of the command line, against a sandbox with faults."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import anyio
import attrs
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.tenant import sandbox, variables_for

FAULTS = "create_scope:503*3 create_user:429=1*1"
ARGUMENTS = [
    *("--rate", "20", "--duration", "1s", "--concurrency", "8", "--rounds", "2", "--rates", "configuration=150"),
    *("--threshold", "failed < 50%", "--threshold", "exchange_token.p50 < 1us"),
]
TEXT, OPENMETRICS = "text/plain", "application/openmetrics-text; version=1.0.0"


@attrs.frozen(slots=False)
class Scrape:
    """What a server of metrics has got, and what the run itself has printed."""

    text: str
    """After the end."""
    during: str
    """During the run."""
    openmetrics: str
    content_types: tuple[str, str]
    report: dict[str, Any]
    code: int
    secret: str
    """The worker's secret."""

    @cached_property
    def samples(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Name of a sample → labels and value, after the end; of a metric that has ended with the run, during it."""
        return samples_of(self.during) | samples_of(self.text)

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples with these labels."""
        return sum(value for got, value in self.samples.get(name, ()) if labels.items() <= got.items())


def samples_of(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Name of a sample → labels and value."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in parse_text(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def command(*argv: str) -> list[str]:
    """The command line as a program."""
    return [sys.executable, "-m", "orchestrator", *argv]


@lru_cache
def scraped() -> Scrape:
    """The scrape; once for all tests of a process."""
    with TemporaryDirectory() as home:
        return anyio.run(_scrape, Path(home))


async def _scrape(home: Path) -> Scrape:
    async with sandbox(FAULTS) as emulator:
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("PINGONE_", "ORCHESTRATOR_", "OTEL_"))
        }
        environ |= variables_for(emulator) | {"XDG_DATA_HOME": str(home / "data")}
        argv = command("load", "--json", *ARGUMENTS, "--metrics", "0", "--metrics-linger", "60s")
        async with await anyio.open_process(argv, env=environ, cwd=home, stdout=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert process.stdout is not None
            said = ""
            with anyio.fail_after(60):
                while (url := re.search(r"metrics: (http://127\.0\.0\.1:\d+/metrics)\s", said)) is None:
                    said += (await process.stderr.receive()).decode()
                during, _ = await fetch(url[1], TEXT)
                while "serving the final metrics" not in said:
                    said += (await process.stderr.receive()).decode()
                report = b""
                while not report.endswith(b"}\n"):
                    report += await process.stdout.receive()
                answers = [await fetch(url[1], accept) for accept in (TEXT, OPENMETRICS)]
                process.send_signal(signal.SIGINT)
                code = await process.wait()
        return Scrape(
            answers[0][0],
            during,
            answers[1][0],
            (answers[0][1], answers[1][1]),
            json.loads(report),
            code,
            emulator.environment.worker_secret,
        )


async def fetch(url: str, accept: str) -> tuple[str, str]:
    """The body and the content type."""
    async with aiohttp.ClientSession() as session, session.get(url, headers={"Accept": accept}) as answer:
        assert answer.status == 200
        return await answer.text(), answer.headers["Content-Type"]
