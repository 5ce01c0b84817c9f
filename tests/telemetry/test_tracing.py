"""Traces of instances: spans, parents and status, over retries, recoveries and rollbacks."""

from __future__ import annotations

import anyio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from orchestrator import (
    AmbiguousError,
    PermanentError,
    RetryPolicy,
    Scenario,
    Status,
    TransientError,
    Vault,
    start,
)
from orchestrator.storage.memory import MemoryStore
from orchestrator.telemetry.ids import root_id_of, trace_id_of
from tests.support.toy import Ledger, One, Two, toy
from tests.support.traces import STATE, Sink, attributes, traced


async def test_an_instance_is_a_trace_with_a_span_for_each_state_and_attempt(
    store: MemoryStore, vault: Vault, sink: Sink
) -> None:
    async with start(toy(Ledger()), store=store, instances=2, options=traced(vault, sink)) as run:
        await run.wait()
    by_trace: dict[int, list[ReadableSpan]] = {}
    for span in sink.spans:
        by_trace.setdefault(span.context.trace_id, []).append(span)
    assert by_trace.keys() == {trace_id_of(run.id, 0), trace_id_of(run.id, 1)}
    first = Sink()
    first.spans = by_trace[trace_id_of(run.id, 0)]
    assert first.tree() == [("toy", [STATE["one"], STATE["two"], STATE["three"]])]
    [root] = first.named("toy")
    assert root.context is not None
    assert root.context.span_id == root_id_of(trace_id_of(run.id, 0))
    assert attributes(root) == {
        "orchestrator.run": run.id,
        "orchestrator.instance": f"{run.id}-0",
        "orchestrator.workflow": "toy",
        "orchestrator.status": "completed",
    }
    assert attributes(first.named("two")[0]) == {"orchestrator.state": "two", "orchestrator.outcome": "done"}
    assert attributes(first.named("two run")[0]) == {
        "orchestrator.state": "two",
        "orchestrator.handler": "run",
        "orchestrator.attempt": 1,
        "orchestrator.outcome": "done",
    }
    assert {span.status.status_code for span in sink.spans} == {StatusCode.UNSET}
    for span in first.spans:
        assert root.start_time <= span.start_time <= span.end_time <= root.end_time


async def test_a_retry_is_a_second_attempt_in_the_span_of_its_state(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy", code="E1")]})
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        await run.wait()
    assert sink.tree() == [("toy", [STATE["one"], ("two", ["two run", "two run"]), STATE["three"]])]
    failed, worked = sink.named("two run")
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "busy"
    assert attributes(failed) | {"orchestrator.outcome": "retry", "error.type": "transient", "orchestrator.error.code": "E1"} == (
        attributes(failed)
    )
    assert attributes(worked)["orchestrator.attempt"] == 2
    assert sink.named("two")[0].status.status_code is StatusCode.UNSET


async def test_a_recovery_is_an_attempt_of_its_own_kind(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    ledger = Ledger(script={"run two": [AmbiguousError("no answer")]})
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        await run.wait()
    assert sink.tree()[0][1][1] == ("two", ["two run", "two recover", "two run"])
    assert attributes(sink.named("two recover")[0])["orchestrator.outcome"] == "not_found"


async def test_a_rollback_follows_the_failed_state_and_the_root_has_failed(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")], "rollback one": [TransientError("busy")]})
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        await run.wait()
    assert sink.tree() == [
        (
            "toy",
            [
                STATE["one"],
                STATE["two"],
                ("rollback two", ["two rollback"]),
                ("rollback one", ["one rollback", "one rollback"]),
            ],
        )
    ]
    assert (sink.named("two")[0].status.status_code, sink.named("two")[0].status.description) == (StatusCode.ERROR, "no")
    assert sink.named("rollback one")[0].status.status_code is StatusCode.UNSET
    root = sink.named("toy")[0]
    assert (root.status.status_code, root.status.description) == (StatusCode.ERROR, "ended: rolled_back")


async def test_a_teardown_is_no_error(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    async with start(toy(Ledger()), store=store, on_success="teardown", options=traced(vault, sink)) as run:
        await run.wait()
    below = [name for name, _ in sink.tree()[0][1]]
    assert below == ["one", "two", "three", "rollback three", "rollback two", "rollback one"]
    assert {span.status.status_code for span in sink.spans} == {StatusCode.UNSET}


async def test_a_leftover_is_an_error(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")], "rollback one": [PermanentError("never")]})
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        await run.wait()
    [left] = sink.named("rollback one")
    assert (left.status.status_code, left.status.description) == (StatusCode.ERROR, "never")
    assert attributes(left)["orchestrator.outcome"] == "left_over"
    assert attributes(sink.named("toy")[0])["orchestrator.status"] == "rollback_failed"


async def test_an_attempt_that_timed_out_is_a_span_as_long_as_its_limit(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    class Slow(Two):
        name = "two"
        retry = RetryPolicy(attempts=2)

    ledger = Ledger(script={"run two": [lambda step: anyio.sleep_forever()]})
    Slow.timeout = One.timeout / 100
    async with start(toy(ledger, One(), Slow(), *toy(Ledger()).states[2:]), store=store, options=traced(vault, sink)) as run:
        assert (await run.wait()).counts == {Status.COMPLETED: 1}
    failed = sink.named("two run")[0]
    assert attributes(failed)["orchestrator.error.code"] == "timeout"
    assert (failed.end_time or 0) - (failed.start_time or 0) >= Slow.timeout.total_seconds() * 0.99e9


async def test_an_instance_that_is_cut_off_ends_its_state_as_failed(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy", retry_after=1e4)] * 9})
    scenario = Scenario(instances=1, concurrency=1, duration=1.0, graceful_stop=1.0)
    async with start(toy(ledger), store=store, scenario=scenario, options=traced(vault, sink)) as run:
        await run.wait()
    [two] = sink.named("two")
    assert two.status.status_code is StatusCode.ERROR
    assert "graceful stop" in str(two.status.description)
