"""Metrics: what a scrape of a real run holds, and how it agrees with the report of the run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from orchestrator import PermanentError, Status, TransientError, Vault, cleanup, resume, start
from orchestrator.load.buckets import Buckets
from orchestrator.storage.memory import MemoryStore
from orchestrator.telemetry.families import Kind, Point
from orchestrator.telemetry.metrics import KEPT, Metrics
from states.token_fulfillment import WORKFLOW
from tests.support.scrape import Scrape, scraped
from tests.support.toy import Ledger, fast, toy


@pytest.fixture(scope="module")
def scrape() -> Scrape:
    return scraped()


def test_a_duration_on_a_bound_is_in_the_bucket_of_the_bound() -> None:
    buckets = Buckets((0.1, 1.0))
    buckets.record([0.1, 0.10001, 1.0, 5.0, 0.0])
    assert buckets.counts == [2, 2, 1]
    assert buckets.total == 5
    assert buckets.sum == pytest.approx(6.20001)


def test_the_run_ends_with_its_own_exit_code(scrape: Scrape) -> None:
    assert scrape.code == scrape.report["exit_code"] == 4


def test_counts_agree_with_the_report(scrape: Scrape) -> None:
    report = scrape.report
    for status, number in report["counts"].items():
        if status in {"completed", "rolled_back"}:
            assert scrape.total("orchestrator_instances_ended_total", status=status) == number
    assert scrape.total("orchestrator_instances_started_total") == report["admitted"]
    assert scrape.total("orchestrator_rounds_total", outcome="done") == report["statistics"]["rounds"]["done"]
    for state in report["statistics"]["states"]:
        name = state["state"]
        assert scrape.total("orchestrator_state_duration_seconds_count", state=name) == state["ok"]
        assert scrape.total("orchestrator_retries_total", state=name, handler="run") == state["retried"]
    assert scrape.total("orchestrator_retries_total") >= 4
    assert scrape.total("orchestrator_errors_total") == scrape.total("orchestrator_retries_total")
    assert scrape.total("orchestrator_errors_total", state="create_scope", kind="ambiguous") == 3


def test_an_attempt_is_counted_by_its_outcome(scrape: Scrape) -> None:
    count = "orchestrator_attempt_duration_seconds_count"
    retried = scrape.total(count, state="create_scope", handler="run", outcome="retry")
    assert retried == scrape.total("orchestrator_retries_total", state="create_scope") == 3
    ends = [scrape.total(count, state="introspect_token", outcome=outcome) for outcome in ("again", "done")]
    assert sum(ends) == scrape.total("orchestrator_rounds_total", outcome="done")
    assert scrape.total(count, state="create_user", handler="rollback", outcome="undone") == scrape.report["admitted"]


def test_latencies_agree_with_the_report(scrape: Scrape) -> None:
    samples = scrape.samples["orchestrator_state_duration_seconds_bucket"]
    for state in scrape.report["statistics"]["states"]:
        buckets = {float(labels["le"]): value for labels, value in samples if labels["state"] == state["state"]}
        assert list(buckets.values()) == sorted(buckets.values())
        median = min(bound for bound, count in buckets.items() if count >= state["ok"] / 2)
        assert state["whole"]["p50"] <= median * 1.01
        total = scrape.total("orchestrator_state_duration_seconds_sum", state=state["state"])
        assert state["whole"]["min"] * state["ok"] * 0.99 <= total <= state["whole"]["max"] * state["ok"] * 1.01


def test_rate_groups_tell_their_waits_and_pauses(scrape: Scrape) -> None:
    assert scrape.total("orchestrator_rate_group_limit", group="configuration") == pytest.approx(150)
    assert scrape.total("orchestrator_rate_group_wait_seconds_count", group="configuration") > 0
    assert scrape.total("orchestrator_rate_group_pauses_total", group="directory") == 1
    assert 0.9 < scrape.total("orchestrator_rate_group_paused_seconds_total", group="directory") <= 1.0


def test_arrivals_are_told(scrape: Scrape) -> None:
    due, started = scrape.total("orchestrator_arrivals_due"), scrape.total("orchestrator_arrivals_started")
    missed = scrape.total("orchestrator_arrivals_missed")
    assert due == started + missed == 20
    assert started == scrape.report["admitted"]
    assert missed == scrape.report["missed"]
    assert scrape.total("orchestrator_arrivals_waiting") == 0
    assert scrape.total("orchestrator_start_lag_seconds_count") == started


def test_thresholds_lease_build_and_process_are_told(scrape: Scrape) -> None:
    assert scrape.total("orchestrator_threshold_holds", threshold="failed < 50%") == 1
    assert scrape.total("orchestrator_threshold_holds", threshold="exchange_token.p50 < 1us") == 0
    assert 0 < scrape.total("orchestrator_lease_remaining_seconds") <= 30
    assert "orchestrator_lease_remaining_seconds{" not in scrape.text, "an alert would fire after the end"
    assert scrape.total("orchestrator_build_info") == 1
    assert scrape.total("process_resident_memory_bytes") > 10e6
    assert scrape.total("process_cpu_seconds_total") > 0


def test_each_stored_event_led_to_a_checkpoint_in_a_commit(scrape: Scrape) -> None:
    written, commits = (
        scrape.total(f"orchestrator_{name}") for name in ("checkpoints_written_total", "commit_duration_seconds_count")
    )
    calls = scrape.total("orchestrator_attempt_duration_seconds_count")
    assert written >= calls + scrape.report["admitted"], "one for each call, and one for each start"
    assert 0 < commits <= written
    assert scrape.total("orchestrator_commit_duration_seconds_sum") > 0


def test_nothing_is_active_after_the_end(scrape: Scrape) -> None:
    for name in ("instances_active", "instances_wanted", "instances_in_load", "instances_in_state", "places_held_back"):
        assert scrape.total(f"orchestrator_{name}") == 0, name


def test_labels_are_bounded_by_the_definition(scrape: Scrape) -> None:
    run_id = scrape.report["run"]
    for name, samples in scrape.samples.items():
        if not name.startswith("orchestrator_") or name.startswith(("orchestrator_build", "orchestrator_ch", "orchestrator_com")):
            continue
        for labels, _ in samples:
            assert labels["run"] == run_id
            assert labels["workflow"] == WORKFLOW.name
            assert labels.keys() <= {
                *("run", "workflow", "state", "handler", "outcome", "segment", "group", "status", "kind", "threshold", "le")
            }
            assert labels.get("state", "authorize") in {*WORKFLOW.state_named, "rolling_back", "create_user.rollback"}
    assert f"{run_id}-" not in scrape.text, "no instance is named"


def test_names_and_units_follow_the_conventions(scrape: Scrape) -> None:
    families = {family.name: family for family in parse_openmetrics(scrape.openmetrics)}  # it checks them
    ours = {name: family for name, family in families.items() if name.startswith("orchestrator_")}
    assert len(ours) > 20
    for name, family in ours.items():
        assert family.documentation.endswith("."), name
        assert re.fullmatch(r"[a-z_]+", name)
        if family.type == "histogram":
            assert name.endswith("_seconds")
    assert scrape.content_types[0].startswith("text/plain; version=0.0.4")
    assert scrape.content_types[1].startswith("application/openmetrics-text; version=1.0.0")


def test_the_documentation_lists_each_metric_with_its_labels(scrape: Scrape) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "observe.md").read_text()
    rows = [line.split(" | ") for line in page.split("## Traces")[0].splitlines() if line.startswith("| `")]
    listed = {name: set(re.findall(r"`(\w+)`", row[2])) for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    exported: dict[str, set[str]] = {}
    for name, samples in scrape.samples.items():
        if name.startswith("orchestrator_"):
            base = re.sub(r"_(bucket|count|sum)$", "", name.removeprefix("orchestrator_"))
            exported.setdefault(base, set()).update(*(labels.keys() - {"run", "workflow", "le"} for labels, _ in samples))
    assert listed == exported


def test_no_secret_is_told(scrape: Scrape) -> None:
    assert scrape.secret not in scrape.text + scrape.openmetrics
    assert "eyJ" not in scrape.text


def values(metrics: Metrics, name: str, **labels: str) -> list[Any]:
    """The values of a metric with these labels."""
    return [point.value for point in points(metrics, name) if labels.items() <= point.labels.items()]


def points(metrics: Metrics, name: str) -> list[Point]:
    """The points of a metric."""
    families = [family for family in metrics.families() if family.name == f"orchestrator_{name}"]
    return [point for family in families for point in family.points]


async def test_counters_of_a_resumed_run_begin_at_zero(vault: Vault) -> None:
    """A counter that went on from a stored value would be lower after a kill, and a server would count everything twice."""
    store, metrics = MemoryStore(), Metrics()
    ledger = Ledger()
    stop = [lambda step: run.cancel() if step.number == 2 else None] * 9
    ledger.script = {"run two": stop}
    async with start(toy(ledger), store=store, instances=5, options=fast(vault)) as run:
        metrics.add(run)
        assert (await run.wait()).interrupted
    [ended] = values(metrics, "instances_ended", status="completed")
    assert ended == 2
    again = Metrics()
    async with resume(toy(Ledger()), run.id, store=store, options=fast(vault)) as run:
        again.add(run)
        assert values(again, "instances_ended", status="completed") == [0]
        await run.wait()
    assert values(again, "instances_ended", status="completed") == [3]
    assert values(again, "instances_started") == [2]


async def test_failures_and_their_retries_are_counted(vault: Vault) -> None:
    metrics = Metrics()
    ledger = Ledger(
        script={"run two": [TransientError("busy"), PermanentError("no", code="X1")], "rollback one": [TransientError("busy")]}
    )
    async with start(toy(ledger), store=MemoryStore(), options=fast(vault)) as run:
        metrics.add(run)
        assert (await run.wait()).counts == {Status.ROLLED_BACK: 1}
    assert values(metrics, "retries", state="two", handler="run") == [1]
    assert values(metrics, "retries", state="one", handler="rollback") == [1]
    assert values(metrics, "errors", state="two", kind="permanent") == [1]
    assert values(metrics, "instances_ended", status="rolled_back") == [1]
    [failed] = values(metrics, "attempt_duration_seconds", state="two", outcome="failed")
    assert failed.total == 1
    [undone] = values(metrics, "attempt_duration_seconds", state="one", handler="rollback", outcome="undone")
    assert undone.total == 1


async def test_several_runs_share_each_family(vault: Vault) -> None:
    metrics, store = Metrics(), MemoryStore()
    async with (
        start(toy(Ledger()), store=store, options=fast(vault)) as one,
        start(toy(Ledger()), store=store, options=fast(vault)) as two,
    ):
        metrics.add(one)
        metrics.add(two)
        await one.wait()
        await two.wait()
    names = [family.name for family in metrics.families()]
    assert len(names) == len(set(names))
    assert values(metrics, "instances_ended", status="completed") == [1, 1]
    assert all(family.kind is not Kind.COUNTER or not family.name.endswith("_total") for family in metrics.families())
    metrics.remove(one.id)
    assert values(metrics, "instances_ended", status="completed") == [1]


async def test_the_final_values_of_the_latest_ended_runs_are_kept(vault: Vault) -> None:
    metrics, store, ids = Metrics(), MemoryStore(), []
    for _ in range(KEPT + 2):
        async with start(toy(Ledger()), store=store, options=fast(vault)) as run:
            metrics.add(run)
            await run.wait()
        metrics.end(run.id)
        ids.append(run.id)
    shown = [point.labels["run"] for point in points(metrics, "instances_started")]
    assert shown == ids[-KEPT:]
    async with cleanup(toy(Ledger()), ids[-KEPT], store=store, options=fast(vault)) as run:
        metrics.add(run)
        assert [point.labels["run"] for point in points(metrics, "instances_started")] == [*ids[-KEPT + 1 :], run.id]
        await run.wait()
