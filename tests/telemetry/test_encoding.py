"""The binary form of spans: the same as that of the SDK's encoder, read by the official messages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from orchestrator.telemetry.encoding import HttpSpanExporter, encoded_request
from orchestrator.telemetry.spans import make_span

RESOURCES = [Resource({}), Resource({"service.name": "a", "service.version": "1.2", "shard": 7})]

contexts = st.builds(
    lambda trace, span: SpanContext(trace, span, False, TraceFlags(1)),
    st.integers(1, (1 << 128) - 1),
    st.integers(1, (1 << 64) - 1),
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
values = st.one_of(names, st.booleans(), st.floats(allow_nan=False), st.integers(-(1 << 63), (1 << 63) - 1))
statuses = st.one_of(st.just(Status(StatusCode.UNSET)), st.builds(lambda text: Status(StatusCode.ERROR, text), st.none() | names))
moments = st.integers(0, (1 << 63) - 1)
spans = st.builds(
    make_span,
    names,
    contexts,
    st.none() | contexts,
    moments,
    moments,
    st.dictionaries(st.sampled_from(["url.full", "orchestrator.state", "error.type", "x"]), values),
    statuses,
    resource=st.sampled_from(RESOURCES),
    kind=st.sampled_from([SpanKind.INTERNAL, SpanKind.CLIENT]),
    links=st.lists(st.builds(Link, contexts), max_size=2),
)


def spans_of(message: ExportTraceServiceRequest) -> dict[bytes, list[Any]]:
    """Resource → its spans."""
    found: dict[bytes, list[Any]] = {}
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            assert scope.scope.name == "orchestrator"
            found.setdefault(resource.resource.SerializeToString(deterministic=True), []).extend(scope.spans)
    return found


@given(st.lists(spans, max_size=6))
def test_the_bytes_equal_those_of_the_sdk_s_encoder(made: list[ReadableSpan]) -> None:
    assert spans_of(ExportTraceServiceRequest.FromString(encoded_request(made))) == spans_of(encode_spans(made))


class Client:
    """The SDK's sender of encoded spans."""

    def __init__(self, success: bool) -> None:
        self.sent: list[bytes] = []
        self._success = success

    def export(self, data: bytes) -> Any:
        self.sent.append(data)
        return type("Result", (), {"success": self._success})

    def shutdown(self) -> None:
        pass


SPAN = make_span(
    "a", SpanContext(1, 2, False, TraceFlags(1)), None, 1, 2, {"x": 1}, Status(StatusCode.UNSET), resource=RESOURCES[1]
)


@pytest.mark.parametrize(("success", "result"), [(True, SpanExportResult.SUCCESS), (False, SpanExportResult.FAILURE)])
def test_the_exporter_sends_it_by_the_sender_of_the_sdk(success: bool, result: SpanExportResult) -> None:
    exporter, client = HttpSpanExporter(), Client(success)
    exporter._client = client
    assert exporter.export([SPAN]) is result
    assert client.sent == [encoded_request([SPAN])]


def test_with_another_sdk_its_own_encoder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []

    def own(self: Any, made: Any) -> SpanExportResult:
        taken.extend(made)
        return SpanExportResult.SUCCESS

    monkeypatch.setattr(HttpSpanExporter.__mro__[1], "export", own)
    exporter = HttpSpanExporter()
    del exporter._client
    assert exporter.export([SPAN]) is SpanExportResult.SUCCESS
    assert taken == [SPAN]
