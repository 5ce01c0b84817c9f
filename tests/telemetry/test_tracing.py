"""Traces of instances: spans, parents, status and ids, over retries, rollbacks, interruptions and several lives."""

from __future__ import annotations

import time
from typing import Any

import anyio
import attrs
import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import StatusCode

from orchestrator import (
    AmbiguousError,
    Options,
    PermanentError,
    RetryPolicy,
    Scenario,
    Status,
    TransientError,
    Vault,
    cleanup,
    resume,
    retry,
    start,
)
from orchestrator.storage.memory import MemoryStore
from orchestrator.telemetry.ids import root_id_of, trace_id_of, traceparent
from orchestrator.telemetry.tracing import Tracing
from tests.support.clock import FastClock
from tests.support.toy import Ledger, One, Two, fast, toy


class Sink:
    """Keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans with this name, in the order in which they were exported."""
        return [span for span in self.spans if span.name == name]

    def tree(self, parent: int | None = None) -> list[Any]:
        """Names by parent, in order of time."""
        found: list[Any] = []
        here = [span for span in self.spans if (span.parent.span_id if span.parent else None) == parent]
        for span in sorted(here, key=lambda span: (span.start_time or 0, span.end_time or 0)):
            below = self.tree(span.context.span_id)
            found.append((span.name, below) if below else span.name)
        return found


class OneTime(FastClock):
    """Its wall time is as fast as its steady time: the beginning of a span is reckoned from a duration."""

    def __init__(self) -> None:
        self._ahead = time.time() - self.steady()

    def now(self) -> float:
        return self.steady() + self._ahead


CLOCK = OneTime()


def tracing(sink: Sink, sampler: Sampler = ALWAYS_ON, *, propagate: bool = False) -> Tracing:
    return Tracing("toy", sink, sampler, Resource({}), propagate=propagate)


def traced(vault: Vault, sink: Sink, sampler: Sampler = ALWAYS_ON, **more: Any) -> Options:
    return attrs.evolve(fast(vault, tracer=tracing(sink, sampler, **more)), clock=CLOCK)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def sink() -> Sink:
    return Sink()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


STATE = {name: (name, [f"{name} run"]) for name in ("one", "two", "three")}


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


async def test_two_lives_of_an_instance_join_one_trace_with_one_root(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy"), lambda step: run.stop()]})
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        assert (await run.wait()).interrupted
    assert sink.named("toy") == [], "the instance has not ended"
    began = (await store.load(run.id))[0]
    later = Sink()
    async with resume(toy(ledger), run.id, store=store, options=traced(vault, later)) as again:
        await again.wait()
    both = Sink()
    both.spans = sink.spans + later.spans
    assert {span.context.trace_id for span in both.spans} == {trace_id_of(run.id, 0)}
    names = [entry[0] for entry in both.tree()[0][1]]
    assert names == ["one", "two", "three"]
    [root] = both.named("toy")
    assert root.start_time is not None
    assert root.start_time <= min(span.start_time or 0 for span in both.spans)
    assert began.number == 0


async def test_an_attempt_that_is_cancelled_leaves_no_span_without_a_parent(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    tracer = tracing(sink)

    async def asks(step: Any) -> None:
        request = tracer.request("POST", "https://api.example.com/things?secret=x", {})
        assert request is not None
        try:
            run.cancel()
            await anyio.sleep_forever()
        except BaseException as error:
            request.end(None, type(error).__name__)
            raise

    ledger = Ledger(script={"run two": [asks]})
    async with start(toy(ledger), store=store, options=fast(vault, tracer=tracer)) as run:
        assert (await run.wait()).interrupted
    ids = {span.context.span_id for span in sink.spans} | {root_id_of(trace_id_of(run.id, 0))}
    assert all(span.parent is not None and span.parent.span_id in ids for span in sink.spans)
    assert attributes(sink.named("two run")[0])["orchestrator.outcome"] == "interrupted"
    assert attributes(sink.named("two")[0])["orchestrator.outcome"] == "suspended"
    assert attributes(sink.named("POST")[0])["error.type"] == "CancelledError"


async def test_a_retried_instance_has_a_second_root_with_a_link_to_the_first(
    store: MemoryStore, vault: Vault, sink: Sink
) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")]})
    async with start(toy(ledger), store=store, on_failure="keep", options=traced(vault, sink)) as run:
        await run.wait()
    async with retry(toy(ledger), run.id, store=store, options=traced(vault, sink)) as again:
        await again.wait()
    first, second = sink.named("toy")[0], sink.named("toy retry")[0]
    assert first.context is not None
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert sink.tree() == [("toy", [STATE["one"], STATE["two"]]), ("toy retry", [STATE["two"], STATE["three"]])]


@pytest.mark.parametrize("number", [None, 0])
async def test_a_cleanup_has_a_root_of_its_own(store: MemoryStore, vault: Vault, sink: Sink, number: int | None) -> None:
    ledger = Ledger()
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        await run.wait()
    async with cleanup(toy(ledger), run.id, store=store, number=number, options=traced(vault, sink)) as again:
        await again.wait()
    second = sink.tree()[1]
    assert second[0] == "toy cleanup"
    assert [name for name, _ in second[1]] == ["rollback three", "rollback two", "rollback one"]
    assert len({span.context.span_id for span in sink.spans}) == len(sink.spans)


async def test_an_instance_that_is_not_sampled_has_no_span(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    async with start(toy(Ledger()), store=store, instances=3, options=traced(vault, sink, ALWAYS_OFF)) as run:
        await run.wait()
    assert sink.spans == []


@pytest.mark.parametrize("sampler", [TraceIdRatioBased(0.5), ParentBased(TraceIdRatioBased(0.5))], ids=["ratio", "parent based"])
async def test_sampling_follows_the_trace_id_in_every_life(
    store: MemoryStore, vault: Vault, sink: Sink, sampler: Sampler
) -> None:
    ledger = Ledger()
    ledger.script = {"run two": [lambda step: run.stop() if step.number == 20 else None] * 99}
    scenario = Scenario(instances=40, concurrency=4)
    async with start(toy(ledger), store=store, scenario=scenario, options=traced(vault, sink, sampler)) as run:
        await run.wait()
    async with resume(toy(ledger), run.id, store=store, options=traced(vault, sink, sampler)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 40}
    expected = {n for n in range(40) if trace_id_of(run.id, n) & (1 << 64) - 1 < 1 << 63}
    assert 5 < len(expected) < 35
    for name in ("toy", "one", "two", "three"):
        assert sorted(span.context.trace_id for span in sink.named(name)) == sorted(
            trace_id_of(run.id, number) for number in expected
        )


# Requests


async def test_a_request_is_a_client_span_without_query_and_credentials(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    tracer = tracing(sink)
    url = "https://user:pass-word@api.example.com:8443/v1/things/7?code=se-cret#frag-ment"

    async def asks(step: Any) -> None:
        headers = {"Authorization": "Bearer to-ken"}
        for status in (201, 404):
            tracer.request("POST", url, headers).end(status)
        tracer.request("GET", "http://[::1]/x", headers).end(None, "ClientOSError")
        assert headers == {"Authorization": "Bearer to-ken"}

    ledger = Ledger(script={"run two": [asks]})
    async with start(toy(ledger), store=store, options=fast(vault, tracer=tracer)) as run:
        await run.wait()
    assert sink.tree()[0][1][1] == ("two", [("two run", ["POST", "POST", "GET"])])
    created, missing = sink.named("POST")
    assert created.kind is otel.SpanKind.CLIENT
    assert attributes(created) == {
        "http.request.method": "POST",
        "server.address": "api.example.com",
        "server.port": 8443,
        "url.full": "https://api.example.com:8443/v1/things/7",
        "http.response.status_code": 201,
    }
    assert created.status.status_code is StatusCode.UNSET
    assert attributes(missing)["error.type"] == "404"
    assert missing.status.status_code is StatusCode.ERROR
    [lost] = sink.named("GET")
    assert attributes(lost) == {
        "http.request.method": "GET",
        "server.address": "::1",
        "server.port": 80,
        "url.full": "http://[::1]/x",
        "error.type": "ClientOSError",
    }


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "not sampled"])
async def test_traceparent_names_the_span_of_the_request(store: MemoryStore, vault: Vault, sink: Sink, sampler: Sampler) -> None:
    tracer, sent = tracing(sink, sampler, propagate=True), dict[str, str]()

    async def asks(step: Any) -> None:
        if (request := tracer.request("GET", "https://x/", sent)) is not None:
            request.end(200)

    async with start(toy(Ledger(script={"run one": [asks]})), store=store, options=fast(vault, tracer=tracer)) as run:
        await run.wait()
    trace_id = trace_id_of(run.id, 0)
    if sampler is ALWAYS_ON:
        [span] = sink.named("GET")
        assert sent == {"traceparent": traceparent(trace_id, span.context.span_id, sampled=True)}
    else:
        assert sent == {"traceparent": traceparent(trace_id, root_id_of(trace_id), sampled=False)}


def test_a_request_outside_an_instance_is_not_traced(sink: Sink) -> None:
    headers = dict[str, str]()
    assert tracing(sink, propagate=True).request("GET", "https://x/", headers) is None
    assert headers == {}


def test_traceparent_has_the_form_of_the_standard() -> None:
    assert traceparent(1, 2, sampled=True) == f"00-{1:032x}-{2:016x}-01"
    assert traceparent(1 << 127, 1 << 63, sampled=False) == f"00-8{0:031x}-8{0:015x}-00"


async def test_other_instrumentation_in_a_handler_finds_its_parent(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    seen: list[otel.SpanContext] = []

    def look(step: Any) -> None:
        seen.append(otel.get_current_span().get_span_context())

    ledger = Ledger(script={"run two": [look]})
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        await run.wait()
    [attempt] = sink.named("two run")
    assert seen == [attempt.context]
    assert not otel.get_current_span().get_span_context().is_valid
