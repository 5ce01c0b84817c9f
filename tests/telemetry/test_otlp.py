"""OTLP: what a real receiver gets of a run of the command line, and what happens if there is none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from orchestrator.cli import main
from orchestrator.telemetry.ids import root_id_of, trace_id_of
from states.sandbox import Sandbox
from tests.crash.shell import KILLED, Shell, ended
from tests.support.otlp import Receiver, Span, assert_whole, attributes_of, tree_of
from tests.support.spellings import SPELLINGS
from tests.support.tenant import STATES, sandbox, signing_key, variables_for
from tests.token_fulfillment.test_echo import CALLS, Echo, served

RUN_ID = re.compile(r"run (\d{6}-\w{6})")


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
