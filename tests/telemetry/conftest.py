"""What tests of telemetry share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from orchestrator.storage.memory import MemoryStore
from tests.support.otlp import Receiver
from tests.support.traces import Sink


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


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def sink() -> Sink:
    return Sink()
