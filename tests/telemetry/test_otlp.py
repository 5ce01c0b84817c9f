"""OTLP: what a real receiver gets of a run of the command line, and what happens if there is none."""

from __future__ import annotations

import logging
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
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from orchestrator.cli import main
from orchestrator.telemetry.ids import root_id_of, trace_id_of
from states.sandbox import Sandbox
from tests.crash.shell import KILLED, Shell, ended
from tests.support.otlp import Receiver, Span, assert_whole, attributes_of, tree_of
from tests.support.spellings import SPELLINGS
from tests.support.tenant import STATES, sandbox, signing_key, variables_for
from tests.token_fulfillment.test_echo import CALLS, Echo, served

RUN_ID = re.compile(r"run (\d{6}-\w{6})")


@pytest.fixture(autouse=True)
def threads_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A thread that still tries to send would disturb the next test."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    yield
    for thread in threading.enumerate():
        if thread.name.startswith(("orchestrator otlp", "OtelBatch")):
            thread.join(30)
    logger = logging.getLogger("opentelemetry")
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serve() as found:
        yield found


@pytest.fixture
def sent_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The receiver, to which this process sends."""
    for name, value in receiver.variables().items():
        monkeypatch.setenv(name, value)
    return receiver


def client_spans(spans: list[Span]) -> list[Span]:
    return [span for span in spans if span.kind == 3]


def test_a_run_sends_its_trace_and_its_metrics(sent_to: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    run_id = RUN_ID.search(said.out)[1]
    spans = sent_to.spans
    assert_whole(spans)
    assert {span.trace for span in spans} == {f"{trace_id_of(run_id, 0):032x}"}
    [(root, below)] = tree_of(spans)
    assert root == "token-fulfillment"
    assert [name for name, _ in below] == STATES
    assert below[0] == ("create_application", [("create_application run", ["POST"])])
    [resource] = [found.resource for request in sent_to.traces for found in request.resource_spans][:1]
    attributes = attributes_of(resource.attributes)
    assert attributes["service.name"] == "orchestrator"
    assert attributes["service.version"]
    created = next(span for span in client_spans(spans) if span.attributes["url.full"].endswith("/applications"))
    assert created.attributes["http.request.method"] == "POST"
    assert created.attributes["http.response.status_code"] == 201
    assert created.attributes["server.address"] == "127.0.0.1"


def test_the_metrics_are_those_of_prometheus_with_their_final_values(
    sent_to: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["load", "--instances", "3", "--rounds", "2", "--threshold", "failed < 1%"]) == 0
    capsys.readouterr()
    [scope] = sent_to.metrics[-1].resource_metrics[0].scope_metrics
    metrics = {metric.name: metric for metric in scope.metrics}
    ended = {
        attributes_of(point.attributes)["status"]: point.as_int
        for point in metrics["orchestrator.instances_ended"].sum.data_points
    }
    assert ended["completed"] == 3
    assert metrics["orchestrator.instances_ended"].sum.is_monotonic
    assert metrics["orchestrator.instances_ended"].sum.aggregation_temporality == 2
    assert sorted(point.as_int for point in metrics["orchestrator.rounds"].sum.data_points) == [0, 6]
    durations = metrics["orchestrator.state_duration"]
    assert durations.unit == "s"
    counts = {attributes_of(point.attributes)["state"]: point for point in durations.histogram.data_points}
    assert counts["create_application"].count == 3
    assert counts["authorize"].count == sum(counts["authorize"].bucket_counts) == 6
    assert len(counts["authorize"].bucket_counts) == len(counts["authorize"].explicit_bounds) + 1
    assert counts["authorize"].min <= counts["authorize"].sum / 6 <= counts["authorize"].max
    assert [point.as_int for point in metrics["orchestrator.threshold_holds"].gauge.data_points] == [1]
    assert "orchestrator.scenario_elapsed" in metrics


async def test_a_killed_and_resumed_run_is_one_trace_without_lost_parents(home: Path) -> None:
    with Receiver().serve() as receiver:
        async with sandbox("create_scope:503*1 create_user:hang_after*1") as emulator:
            shell = Shell(home, emulator)
            shell._environ |= receiver.variables(OTEL_BSP_SCHEDULE_DELAY="50", OTEL_METRICS_EXPORTER="none")
            process = shell.begin("run")
            await shell.until(lambda: any(span.name == "create_population" for span in receiver.spans), seconds=60)
            process.kill()
            assert await ended(process) == KILLED
            first = receiver.spans
            emulator.faults.clear()
            assert await shell.run("resume") == 0, shell.said()
        spans = receiver.spans
    run_id = RUN_ID.search(shell.said())[1]
    assert {span.trace for span in spans} == {f"{trace_id_of(run_id, 0):032x}"}
    root_id = f"{root_id_of(trace_id_of(run_id, 0)):016x}"
    assert root_id not in {span.id for span in first}, "the instance had not ended"
    assert_whole(spans)
    [(root, below)] = tree_of(spans)
    assert root == "token-fulfillment"
    assert [name for name, _ in below] == STATES
    scope = dict(below)["create_scope"]
    assert [name for name, _ in scope] == ["create_scope run", "create_scope recover", "create_scope run"]
    failed = next(span for span in spans if span.name == "create_scope run")
    assert failed.error is not None
    assert failed.attributes["orchestrator.outcome"] == "retry"
    assert next(span for span in client_spans(spans) if span.error is not None).attributes["http.response.status_code"] == 503
    # The effect of the killed attempt is found, not made again.
    assert [name for name, _ in dict(below)["create_user"]] == ["create_user recover"]


@pytest.mark.parametrize("state", ["create_application", "set_password", "exchange_token"])
def test_no_byte_that_is_sent_holds_a_secret(
    sent_to: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    """The server repeats every secret of a request in every field of its refusal."""
    emulator = Echo(*CALLS[state], first=0)
    with served(emulator):
        for name, value in variables_for(emulator).items():
            monkeypatch.setenv(name, value)
        assert main(["run", "--send-traceparent"]) == 1
    capsys.readouterr()
    assert emulator.echoed
    assert len(emulator.secrets) >= 3
    assert any(span.error is not None and "********" in span.error for span in sent_to.spans)
    for secret in emulator.secrets:
        for name, spelling in SPELLINGS.items():
            spelled = spelling(secret).encode()
            assert spelled not in sent_to.raw, f"{name} of a secret"
            assert spelled[:30] not in sent_to.raw or "base64" in name, f"the beginning of {name} of a secret"


class Listening(Sandbox):
    """A sandbox that keeps the header ``traceparent`` of each request."""

    def __init__(self) -> None:
        super().__init__(key=signing_key())
        self.received: list[str | None] = []

    def application(self) -> web.Application:
        app = super().application()

        @web.middleware
        async def listen(request: web.Request, handler: Any) -> web.StreamResponse:
            self.received.append(request.headers.get("traceparent"))
            found: web.StreamResponse = await handler(request)
            return found

        app.middlewares.append(listen)
        return app


@pytest.mark.parametrize("flags", [["--send-traceparent"], []], ids=["wanted", "not wanted"])
def test_the_api_gets_traceparent_only_if_the_user_wants_it(
    sent_to: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    emulator = Listening()
    with served(emulator):
        for name, value in variables_for(emulator).items():
            monkeypatch.setenv(name, value)
        assert main(["run", *flags]) == 0
    capsys.readouterr()
    sent = [header for header in emulator.received if header is not None]
    if not flags:
        assert sent == []
        return
    spans = client_spans(sent_to.spans)
    assert sorted(sent) == sorted(f"00-{span.trace}-{span.id}-01" for span in spans)
    assert len(sent) >= 15


def test_sampling_by_the_standard_variables(
    sent_to: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "onboarding")
    assert main(["run", "--instances", "8", "--concurrency", "4", "--log-format", "json"]) == 0
    said = capsys.readouterr()
    run_id = RUN_ID.search(said.out)[1]
    expected = {number for number in range(8) if trace_id_of(run_id, number) & (1 << 64) - 1 < 1 << 63}
    assert {span.trace for span in sent_to.spans} == {f"{trace_id_of(run_id, number):032x}" for number in expected}
    logged = set(re.findall(r'"instance":"[\w-]+-(\d)".*"trace_id":"(\w+)"', said.err))
    assert logged == {(str(number), f"{trace_id_of(run_id, number):032x}") for number in expected}
    if expected:
        assert attributes_of(sent_to.traces[0].resource_spans[0].resource.attributes)["service.name"] == "onboarding"


# Without a receiver


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


def test_traces_alone_or_metrics_alone(
    sent_to: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert main(["run"]) == 0
    assert {path for path, _ in sent_to.bodies} == {"/v1/metrics"}
    sent_to.bodies.clear()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    assert main(["run"]) == 0
    assert {path for path, _ in sent_to.bodies} == {"/v1/traces"}
    sent_to.bodies.clear()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert main(["run"]) == 0
    assert sent_to.bodies == []
    capsys.readouterr()


@pytest.mark.parametrize(
    ("variable", "value", "error"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER=zipkin is none of otlp, console, none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "the protocol 'http/json' is neither http/protobuf nor grpc"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "could not convert string to float: 'soon'"),
    ],
)
def test_a_variable_that_cannot_be_used_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, error: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["run", "--otlp"]) == 2
    assert capsys.readouterr().err == f"orchestrator: otlp: a variable OTEL_… cannot be used: {error}\n"
    assert logging.getLogger("opentelemetry").handlers == []


@pytest.fixture
def no_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.startswith(("orchestrator.telemetry.otlp", "orchestrator.telemetry.tracing"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("opentelemetry.sdk")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)


@pytest.mark.usefixtures("no_sdk")
def test_without_the_extra_the_flag_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--otlp"]) == 2
    assert re.fullmatch(
        r"orchestrator: otlp: opentelemetry\.sdk[.\w]* is not installed; install the extra: "
        r"pip install 'token-fulfillment-orchestrator\[otel\]'\n",
        capsys.readouterr().err,
    )


@pytest.mark.usefixtures("no_sdk")
def test_without_the_extra_a_variable_alone_is_a_notice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert main(["run"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "; OTEL_EXPORTER_OTLP_ENDPOINT is set, but nothing is sent: opentelemetry.sdk" in first


def test_a_run_without_telemetry_imports_none_of_it(home: Path) -> None:
    program = (
        "import sys; from orchestrator.cli import main; main(['run', '--json', '--store', 'memory:']); "
        "print([n for n in sys.modules if n.startswith(('opentelemetry', 'google', 'prometheus_client'))], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "[]"
