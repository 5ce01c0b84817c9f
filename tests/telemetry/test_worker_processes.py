"""Metrics, traces, logs and observers of a run on real worker processes, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import anyio
import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from orchestrator import open_store
from orchestrator.storage.lease import Owner
from orchestrator.telemetry.ids import root_id_of, trace_id_of
from tests.support.otlp import Receiver, Span, attributes_of
from tests.support.scrape import command
from tests.support.tenant import sandbox, variables_for

INSTANCES = 36
ARGUMENTS = [
    *("--instances", str(INSTANCES), "--concurrency", "6", "--processes", "2", "--threshold", "failed < 50%"),
    *("--metrics", "0", "--metrics-linger", "60s", "--log-format", "json"),
]
HEADER = "geheim-4711"
"""A secret that only a variable of OTLP holds."""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@attrs.frozen(kw_only=True, slots=False)
class Life:
    """A run with a killed worker, seen from outside."""

    scrapes: list[Samples]
    report: dict[str, Any]
    errors: str
    """Stderr."""
    receiver: Receiver
    killed: int
    secret: str

    def total(self, name: str, **labels: str) -> float:
        """Sum of the final samples with these labels."""
        found = self.scrapes[-1].items()
        return sum(value for (got, pairs), value in found if got == name and labels.items() <= dict(pairs).items())


@pytest.fixture(scope="module")
def life() -> Life:
    return _lived()


@lru_cache
def _lived() -> Life:
    with TemporaryDirectory() as home, Receiver().serve() as receiver:
        return anyio.run(_live, Path(home), receiver)


async def _live(home: Path, receiver: Receiver) -> Life:
    async with sandbox("*:latency=0.02 create_scope:503*3") as emulator:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PINGONE_", "OTEL_"))}
        environ |= variables_for(emulator) | {"XDG_DATA_HOME": str(home / "data")}
        environ |= receiver.variables(
            OTEL_BSP_SCHEDULE_DELAY="50", OTEL_METRIC_EXPORT_INTERVAL="300", OTEL_EXPORTER_OTLP_HEADERS=f"x-key={HEADER}"
        )
        with (home / "errors").open("wb") as errors:
            async with await anyio.open_process(
                command("load", "--json", *ARGUMENTS), env=environ, cwd=home, stdout=subprocess.PIPE, stderr=errors
            ) as process:
                with anyio.fail_after(150):
                    scrapes, killed = await _watch(home)
                    report = b""
                    assert process.stdout is not None
                    while not report.endswith(b"}\n"):
                        report += await process.stdout.receive()
                    scrapes.append(await _scrape(home))
                    process.send_signal(signal.SIGINT)
                    await process.wait()
        said = (home / "errors").read_text()
    return Life(
        scrapes=scrapes,
        report=json.loads(report),
        errors=said,
        receiver=receiver,
        killed=killed,
        secret=emulator.environment.worker_secret,
    )


async def _watch(home: Path) -> tuple[list[Samples], int]:
    """Scrape until the end, and kill a worker as soon as both are at work and their measurements are in a scrape."""
    scrapes: list[Samples] = []
    killed = 0
    while not re.search("serving the final metrics", (home / "errors").read_text()):
        await anyio.sleep(0.1)
        if "metrics: http" not in (home / "errors").read_text():
            continue
        scrapes.append(await _scrape(home))
        ended = sum(value for (name, _), value in scrapes[-1].items() if name == "orchestrator_state_duration_seconds_count")
        active = sum(value for (name, _), value in scrapes[-1].items() if name == "orchestrator_instances_active")
        if not killed and ended >= 20 and active > 3 and (workers := await _workers(home)):
            killed = workers[0]
            os.kill(killed, signal.SIGKILL)
    return scrapes, killed


async def _scrape(home: Path) -> Samples:
    url = re.search(r"metrics: (http://127\.0\.0\.1:\d+/metrics)\b", (home / "errors").read_text())[1]  # type: ignore[index]
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
    samples = (sample for family in parse_text(text) for sample in family.samples)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


async def _workers(home: Path) -> list[int]:
    """Processes that drive a shard."""
    async with open_store(f"sqlite:{home / 'data' / 'orchestrator' / 'runs.db'}", create=False) as store:
        [run] = (await store.runs()).runs
        owners = [Owner.loads(shard.owner) for shard in await store.shards(run.id) if shard.owner is not None and shard.epoch > 1]
    return sorted({owner.pid for owner in owners})


def test_a_worker_was_killed_and_the_run_has_completed(life: Life) -> None:
    assert life.killed
    assert life.report["counts"] == {"completed": INSTANCES}
    assert life.report["exit_code"] == 0


def test_counters_never_fall(life: Life) -> None:
    names = ("_total", "_count", "_bucket", "_sum")
    assert len(life.scrapes) > 3
    for before, after in zip(life.scrapes, life.scrapes[1:], strict=False):
        for key, value in before.items():
            if key[0].startswith("orchestrator_") and key[0].endswith(names):
                assert after[key] >= value - 1e-9, key


def test_the_final_metrics_equal_the_report(life: Life) -> None:
    report = life.report
    assert life.total("orchestrator_instances_ended_total", status="completed") == INSTANCES
    assert life.total("orchestrator_instances_started_total") == report["admitted"] == INSTANCES
    for state in report["statistics"]["states"]:
        assert life.total("orchestrator_state_duration_seconds_count", state=state["state"]) == state["ok"]
        assert life.total("orchestrator_retries_total", state=state["state"], handler="run") == state["retried"]
    assert life.total("orchestrator_threshold_holds", threshold="failed < 50%") == 1
    assert life.total("orchestrator_checkpoints_written_total") >= 15 * INSTANCES
    assert life.total("orchestrator_commit_duration_seconds_count") > 0
    for name in ("instances_active", "instances_in_state"):
        assert life.total(f"orchestrator_{name}") == 0


def test_gauges_are_those_of_all_workers(life: Life) -> None:
    leases = [value for one in life.scrapes for (name, _), value in one.items() if name == "orchestrator_lease_remaining_seconds"]
    assert leases
    assert max(leases) <= 30
    active = [value for one in life.scrapes for (name, _), value in one.items() if name == "orchestrator_instances_active"]
    assert 3 < max(active) <= 6, "both workers"


def spans_by_resource(receiver: Receiver) -> list[tuple[dict[str, Any], list[Span]]]:
    """Resource attributes, and the spans of the resource."""
    return [
        (attributes_of(resource.resource.attributes), [Span.of(span) for scope in resource.scope_spans for span in scope.spans])
        for request in receiver.traces
        for resource in request.resource_spans
    ]


def test_each_worker_sends_the_traces_of_its_instances(life: Life) -> None:
    found = spans_by_resource(life.receiver)
    workers = {resource["service.instance.id"] for resource, _ in found}
    assert len(workers) >= 2
    for resource, _ in found:
        assert resource["service.name"] == "orchestrator"
        assert resource["host.name"]
        assert resource["orchestrator.run"] == life.report["run"]
        assert re.fullmatch(r"\d+(,\d+)*", resource["orchestrator.shards"])
    spans = [span for _, several in found for span in several]
    assert len({span.id for span in spans}) == len(spans), "nothing is sent twice"
    run = life.report["run"]
    traces = {f"{trace_id_of(run, number):032x}" for number in range(INSTANCES)}
    assert {span.trace for span in spans} == traces
    roots = {span.id for span in spans if not span.parent}
    expected = {f"{root_id_of(trace_id_of(run, number)):016x}" for number in range(INSTANCES)}
    assert roots <= expected
    assert len(expected - roots) <= 3, "the killed worker may have taken the last roots of its three places with it"


def test_metrics_by_otlp_come_from_the_launcher_alone(life: Life) -> None:
    resources = [request.resource_metrics[0] for request in life.receiver.metrics]
    assert len({attributes_of(one.resource.attributes)["service.instance.id"] for one in resources}) == 1
    metrics = {metric.name: metric for metric in resources[-1].scope_metrics[0].metrics}
    ended = metrics["orchestrator.instances_ended"].sum.data_points
    assert sum(point.as_int for point in ended) == INSTANCES


def test_events_of_workers_are_logged_by_the_launcher_with_run_and_shard(life: Life) -> None:
    lines = [json.loads(line) for line in life.errors.splitlines() if line.startswith("{")]
    moved = [line for line in lines if line.get("event") == "moved"]
    assert {line["run"] for line in moved} == {life.report["run"]}
    assert all(line["shard"] == int(line["instance"].rpartition("-")[2]) % 2 for line in moved)
    ended = [line["instance"] for line in lines if line.get("event") == "ended"]
    assert len(ended) == len(set(ended))
    assert INSTANCES - 6 <= len(ended) <= INSTANCES, "the killed worker may have taken its last events with it"
    assert all(line.get("trace_id") for line in moved)


def test_no_secret_leaves_the_workers(life: Life) -> None:
    assert "Traceback" not in life.errors
    for secret in (life.secret, HEADER, "eyJ"):
        assert secret not in life.errors
        assert secret.encode() not in life.receiver.raw
