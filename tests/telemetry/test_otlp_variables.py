"""The variables and flags that switch OTLP on, off, or are wrong; and runs without its packages."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.support.otlp import Receiver


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
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER=zipkin is not supported; use otlp, console or none"),
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
