"""``resume --all`` exports metrics, traces and logs of every run that it resumes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import anyio
import attrs

from orchestrator import Options, find_key, open_store, start
from orchestrator.settings import default_key_file
from orchestrator.telemetry.ids import trace_id_of
from states.token_fulfillment import WORKFLOW
from tests.support.otlp import Receiver, assert_whole, attributes_of
from tests.support.scrape import TEXT, command, fetch, samples_of
from tests.support.tenant import sandbox, settings_for

RUNS = {"one": 2, "two": 3}
"""Run → its instances."""


@attrs.frozen(kw_only=True)
class Resumed:
    """The end of the command, seen from outside."""

    said: str
    """Stderr."""
    metrics: dict[str, list[tuple[dict[str, str], float]]]
    """The last scrape."""
    report: dict[str, Any]


async def resumed(home: Path, receiver: Receiver) -> Resumed:
    """Resume two runs that nobody has driven, and scrape the final metrics."""
    vault = find_key({}, default_key_file(), create=True)
    async with sandbox() as emulator:
        async with open_store(str(home / "data" / "orchestrator" / "runs.db")) as store:
            for run_id, instances in RUNS.items():
                async with start(
                    WORKFLOW,
                    settings_for(emulator),
                    store=store,
                    run_id=run_id,
                    instances=instances,
                    drive=False,
                    options=Options(vault=vault),
                ) as run:
                    await run.wait()
        argv = command("resume", "--all", "--json", "--metrics", "0", "--metrics-linger", "60s", "--log-format", "json")
        environ = os.environ | receiver.variables()
        async with await anyio.open_process(argv, env=environ, cwd=home, stdout=subprocess.PIPE) as process:
            assert process.stderr is not None
            assert process.stdout is not None
            said = ""
            with anyio.fail_after(60):
                while "serving the final metrics" not in said:
                    said += (await process.stderr.receive()).decode()
                url = re.search(r"metrics: (http://127\.0\.0\.1:\d+/metrics)\s", said)
                assert url is not None
                text, _ = await fetch(url[1], TEXT)
                report = b""
                while not report.endswith(b"}\n"):
                    report += await process.stdout.receive()
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 0
    return Resumed(said=said, metrics=samples_of(text), report=json.loads(report))


async def test_each_run_is_exported(home: Path, receiver: Receiver) -> None:
    found = await resumed(home, receiver)
    assert {row["run"]: row["counts"] for row in found.report["runs"]} == {run: {"completed": n} for run, n in RUNS.items()}

    ended = {labels["run"]: value for labels, value in found.metrics["orchestrator_instances_ended_total"] if value}
    assert ended == RUNS

    lines = [json.loads(line) for line in found.said.splitlines() if line.startswith("{")]
    said = {line["message"] for line in lines if "message" in line}
    assert {f"run {run}: finished, {n} completed" for run, n in RUNS.items()} <= said

    spans = receiver.spans
    assert_whole(spans)
    roots = [span for span in spans if not span.parent]
    assert sorted(span.trace for span in roots) == sorted(
        f"{trace_id_of(run, number):032x}" for run, instances in RUNS.items() for number in range(instances)
    )
    [scope] = receiver.metrics[-1].resource_metrics[0].scope_metrics
    [metric] = [one for one in scope.metrics if one.name == "orchestrator.instances_ended"]
    points = {attributes_of(point.attributes)["run"]: point.as_int for point in metric.sum.data_points if point.as_int}
    assert points == RUNS
