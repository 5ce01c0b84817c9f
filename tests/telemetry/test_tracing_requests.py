"""Requests in traces: client spans, ``traceparent``, and other instrumentation."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.trace import StatusCode

from orchestrator import (
    Vault,
    start,
)
from orchestrator.storage.memory import MemoryStore
from orchestrator.telemetry.ids import root_id_of, trace_id_of, traceparent
from tests.support.toy import Ledger, fast, toy
from tests.support.traces import Sink, attributes, traced, tracing


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
