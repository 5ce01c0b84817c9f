"""How worker processes are told to send traces: encrypted, and without disturbing the run."""

from __future__ import annotations

import logging
import os

import pytest

from orchestrator import Vault
from orchestrator.cluster.traces import open_traces, sealed_traces
from orchestrator.driving.options import WorkerTraces
from orchestrator.errors import EncryptionKeyError
from orchestrator.lifecycle.events import Event, EventKind

SECRET = "x-key=geheim-4711"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def sealed(vault: Vault, *, propagate: bool = False, **variables: str) -> str:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1", **variables}
    return sealed_traces(WorkerTraces(variables=given, propagate=propagate), vault, "r1")


def test_headers_are_secret_in_the_task_and_in_the_options(vault: Vault) -> None:
    assert "geheim" not in sealed(vault, OTEL_EXPORTER_OTLP_HEADERS=SECRET)
    assert "geheim" not in repr(WorkerTraces(variables={"OTEL_EXPORTER_OTLP_HEADERS": SECRET}))


async def test_only_the_key_of_the_run_opens_them(vault: Vault) -> None:
    with pytest.raises(EncryptionKeyError):
        async with open_traces(sealed(Vault(bytes(32), "here")), vault, "r1", (0,), "w"):
            raise AssertionError


async def test_a_worker_uses_its_own_variables_first_and_leaves_its_environment_as_it_was(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    before = dict(os.environ)
    async with open_traces(sealed(vault, OTEL_TRACES_EXPORTER="otlp"), vault, "r1", (0,), "w") as tracer:
        assert tracer is None
        assert dict(os.environ) == before


@pytest.mark.parametrize("propagate", [True, False])
async def test_requests_carry_the_header_if_the_launcher_wants_it(vault: Vault, propagate: bool) -> None:
    async with open_traces(
        sealed(vault, propagate=propagate, OTEL_TRACES_SAMPLER="always_off"), vault, "r1", (0,), "w"
    ) as tracer:
        assert tracer is not None
        tracer(Event(run_id="r1", number=0, kind=EventKind.STARTED, at=1.0, state="a", seq=1))
        headers: dict[str, str] = {}
        tracer.request("GET", "http://localhost/", headers)
        assert ("traceparent" in headers) is propagate


async def test_a_worker_that_cannot_send_traces_says_so_and_drives(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    async with open_traces(sealed(vault, OTEL_EXPORTER_OTLP_PROTOCOL="x"), vault, "r1", (0,), "w") as tracer:
        assert tracer is None
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("this worker process sends no traces: otlp: a variable OTEL_… cannot be used: ")
