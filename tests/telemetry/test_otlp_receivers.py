"""OTLP to receivers that are missing, hang, refuse, or speak gRPC: the run ends as ever."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from orchestrator.cli import main
from tests.support.otlp import Receiver, Span, assert_whole, tree_of


def test_without_a_receiver_the_run_ends_as_ever_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("orchestrator.telemetry.otlp.FLUSH_S", 0.3)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert main(["run"]) == 0
    assert "1 completed" in capsys.readouterr().out
    said = [record.getMessage() for record in caplog.records if record.name == "orchestrator.telemetry"]
    assert all(text.startswith("OTLP: ") and "\n" not in text for text in said)
    assert said[-1] == "OTLP: not everything was delivered within 0.3 s"
    assert not [record for record in caplog.records if record.exc_info]


def test_a_receiver_that_hangs_delays_the_end_by_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("orchestrator.telemetry.otlp.FLUSH_S", 0.3)
    with Receiver(hangs=True).serve() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        assert main(["run"]) == 0
    assert "1 completed" in capsys.readouterr().out
    assert "OTLP: not everything was delivered within 0.3 s" in caplog.text


def test_a_receiver_that_refuses_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(status=401).serve() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        assert main(["run"]) == 0
    capsys.readouterr()
    first, *others = [record.getMessage() for record in caplog.records if record.name == "orchestrator.telemetry"]
    assert re.fullmatch(r"OTLP: .*401.*; the run goes on, and further problems are counted", first)
    assert others == ["OTLP: 1 further problems"]


@pytest.mark.parametrize("is_there", [True, False], ids=["hangs", "is not there"])
def test_a_program_whose_receiver_hangs_or_is_not_there_ends_and_says_so(home: Path, is_there: bool) -> None:
    program = (
        "import sys; from orchestrator.cli import entry; from orchestrator.telemetry import otlp; "
        "otlp.FLUSH_S = 0.3; sys.exit(entry(['run', '--store', 'memory:']))"
    )
    with Receiver(hangs=True).serve() as receiver:
        environ = os.environ | (receiver.variables() if is_there else {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
        argv = [sys.executable, "-c", program]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env=environ, check=False)
    assert done.returncode == 0
    *problems, last = done.stderr.splitlines()
    assert last == "OTLP: not everything was delivered within 0.3 s"
    assert all(line.startswith("OTLP: ") for line in problems)
    assert bool(problems) is not is_there


# gRPC


@contextmanager
def grpc_receiver() -> Iterator[tuple[str, list[Any]]]:
    """A receiver of OTLP over gRPC: its URL, and the requests."""
    received: list[Any] = []
    lock = threading.Lock()

    def kept(answer: Any) -> Any:
        def take(request: Any, context: grpc.ServicerContext) -> Any:
            with lock:
                received.append(request)
            return answer()

        return take

    traces = type("Traces", (trace_service_pb2_grpc.TraceServiceServicer,), {})()
    traces.Export = kept(trace_service_pb2.ExportTraceServiceResponse)
    metrics = type("Metrics", (metrics_service_pb2_grpc.MetricsServiceServicer,), {})()
    metrics.Export = kept(metrics_service_pb2.ExportMetricsServiceResponse)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(traces, server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(metrics, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", received
    finally:
        server.stop(0).wait()


def test_grpc_is_another_protocol_for_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with grpc_receiver() as (url, received):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        assert main(["run"]) == 0
    assert capsys.readouterr().err == ""
    spans = [
        Span.of(span)
        for request in received
        for resource in getattr(request, "resource_spans", ())
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert_whole(spans)
    assert len(tree_of(spans)[0][1]) == 15
    assert any(hasattr(request, "resource_metrics") for request in received)


def test_grpc_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert main(["run", "--otlp"]) == 2
    assert capsys.readouterr().err == (
        "orchestrator: otlp: a variable OTEL_… cannot be used: the protocol grpc needs: "
        "pip install opentelemetry-exporter-otlp-proto-grpc\n"
    )


# Flags and variables
