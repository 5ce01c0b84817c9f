"""Sends traces and metrics by OTLP, as the standard variables ``OTEL_*`` say.

Nothing here may disturb a run: spans are sent by the SDK's thread from a bounded queue, metrics by a thread of ours, the first
problem is logged in one line, and the end waits ``FLUSH_S`` seconds at most.
"""

from __future__ import annotations

import logging
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING

import anyio
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

from orchestrator.errors import SettingError
from orchestrator.telemetry.metrics import Metrics
from orchestrator.telemetry.otlp_metrics import metrics_data
from orchestrator.telemetry.tracing import Tracing
from orchestrator.version import installed_version

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter

FLUSH_S = 5.0
"""How long the end of the program waits until everything is sent."""
ABORT_S = 0.5
"""How long it then waits until the attempts to send have ended."""
METRICS_EVERY_MS = 60_000
QUEUE = 16_384
"""Spans that may wait to be sent. A load run makes thousands a second, in bursts; the SDK's default drops most of them."""
SERVICE = "orchestrator"
_INSTANCE_ID = str(uuid.uuid4())
"""Of this process."""

_log = logging.getLogger("orchestrator.telemetry")


class Otlp:
    """The exporters of this process.

    Args:
        metrics: The metrics to export; ``None``: another process exports the metrics.
        resource: Attributes of the resource beside the usual ones.
        propagate: Whether requests carry the header ``traceparent``.
        environ: The variables ``OTEL_*``. The SDK reads most of them itself, from the environment of the process.

    Raises:
        SettingError: A variable has a value that is not supported.
    """

    def __init__(
        self,
        metrics: Metrics | None,
        *,
        propagate: bool,
        environ: Mapping[str, str] = os.environ,
        resource: Mapping[str, str] | None = None,
    ) -> None:
        self._metrics = metrics
        self._propagate = propagate
        self._environ = environ
        self._resource = _resource(environ, resource or {})
        self._start_ns = time.time_ns()
        self._problems = _Problems()
        self._sending: Thread | None = None
        try:
            self._sender = _span_exporter(environ)
            self._sampler = TracerProvider(resource=self._resource, shutdown_on_exit=False).sampler
            self._exporter = None if metrics is None else _metric_exporter(environ)
            self._every_s = float(environ.get("OTEL_METRIC_EXPORT_INTERVAL") or METRICS_EVERY_MS) / 1000
            # Last, because it starts a thread.
            self._spans = None if self._sender is None else BatchSpanProcessor(self._sender, _queue_size(environ))
        except ValueError as error:
            self._problems.remove()
            raise SettingError("otlp", f"a variable OTEL_… cannot be used: {error}") from error

    def tracing(self, workflow: str) -> Tracing | None:
        """The tracer of a workflow's runs; ``None``: no traces are wanted."""
        if self._spans is None:
            return None
        return Tracing(workflow, self._spans, self._sampler, self._resource, propagate=self._propagate)

    async def keep(self) -> None:
        """Send metrics again and again, until cancelled."""
        while self._exporter is not None:
            await anyio.sleep(self._every_s)
            if self._sending is None or not self._sending.is_alive():
                self._sending = self._send_metrics()

    async def close(self) -> None:
        """Send everything that waits, within ``FLUSH_S``."""
        closing = [] if self._spans is None else [_started(self._spans.shutdown)]
        if self._exporter is not None:
            closing.append(self._send_metrics(self._exporter.shutdown))
        delivered = await _joined(closing, FLUSH_S)
        self._problems.tell_rest()
        if not delivered:
            _log.warning("OTLP: not everything was delivered within %g s", FLUSH_S)
            ending = [_started(exporter.shutdown) for exporter in (self._sender, self._exporter) if exporter is not None]
            delivered = await _joined((*closing, *ending), ABORT_S)  # it ends the attempts to send again
        if delivered:
            self._problems.remove()  # else a thread that hangs would still log

    def _send_metrics(self, then: Callable[[], object] = lambda: None) -> Thread:
        exporter, metrics = self._exporter, self._metrics
        assert exporter is not None
        assert metrics is not None
        data = metrics_data(metrics.families(), self._resource, self._start_ns, time.time_ns())

        def send() -> None:
            exporter.export(data)
            then()

        return _started(send)


class _Problems(logging.Handler):
    """Tells the first problem that the SDK logs, in one line without a trace; the others are counted."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0
        self._logger = logging.getLogger("opentelemetry")
        self._propagated = self._logger.propagate
        self._logger.propagate = False
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See the base class."""
        self.count += 1
        if self.count == 1:
            _log.warning("OTLP: %s; the run goes on, and further problems are counted", " ".join(record.getMessage().split()))

    def tell_rest(self) -> None:
        """Tell the number of further problems; from now on, all are silent."""
        if self.count > 1:
            _log.warning("OTLP: %d further problems", self.count - 1)
        self.count = max(self.count, 1)

    def remove(self) -> None:
        """Let the SDK log as before."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated


async def _joined(threads: Sequence[Thread], seconds: float) -> bool:
    """Wait until threads have ended, also during a cancellation; ``False``: one has not."""
    with anyio.move_on_after(seconds, shield=True):
        while any(thread.is_alive() for thread in threads):  # noqa: ASYNC110  # a thread sets no event of the loop
            await anyio.sleep(0.005)
    return not any(thread.is_alive() for thread in threads)


def _started(work: Callable[[], object]) -> Thread:
    """A thread that does not keep the program from ending."""
    thread = Thread(target=work, name="orchestrator otlp", daemon=True)
    thread.start()
    return thread


@contextmanager
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables that the environment lacks while the block lasts: the SDK reads them from the environment."""
    missing = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


def _resource(environ: Mapping[str, str], more: Mapping[str, str]) -> Resource:
    own = {"service.version": installed_version(), "service.instance.id": _INSTANCE_ID, **more}
    if "host.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own["host.name"] = platform.node()
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own["service.name"] = SERVICE
    return Resource.create(own)


def _queue_size(environ: Mapping[str, str]) -> int | None:
    """``None``: the SDK reads it."""
    return None if environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else QUEUE


def _protocol(environ: Mapping[str, str], signal: str) -> str:
    found = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
    if found not in {"http/protobuf", "grpc"}:
        raise ValueError(f"the protocol {found!r} is neither http/protobuf nor grpc")
    return found


def _kind(environ: Mapping[str, str], signal: str) -> str:
    found = (environ.get(f"OTEL_{signal}_EXPORTER") or "otlp").strip().lower()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "none"
    if found not in {"otlp", "console", "none"}:
        raise ValueError(f"OTEL_{signal}_EXPORTER={found} is not supported; use otlp, console or none")
    return found


@contextmanager
def _needs_grpc() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError("the protocol grpc needs: pip install opentelemetry-exporter-otlp-proto-grpc") from error


def _span_exporter(environ: Mapping[str, str]) -> SpanExporter | None:
    match _kind(environ, "TRACES"):
        case "none":
            return None
        case "console":
            return ConsoleSpanExporter()
    if _protocol(environ, "TRACES") == "grpc":
        with _needs_grpc():
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc  # noqa: PLC0415  # needs another package

        return Grpc()
    from orchestrator.telemetry.encoding import HttpSpanExporter  # noqa: PLC0415  # imports the exporter

    return HttpSpanExporter()


def _metric_exporter(environ: Mapping[str, str]) -> MetricExporter | None:
    match _kind(environ, "METRICS"):
        case "none":
            return None
        case "console":
            from opentelemetry.sdk.metrics.export import ConsoleMetricExporter  # noqa: PLC0415  # imports the metrics SDK

            return ConsoleMetricExporter()
    if _protocol(environ, "METRICS") == "grpc":
        with _needs_grpc():
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as Grpc  # noqa: PLC0415  # needs another package

        return Grpc()
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415  # imports the metrics SDK

    return OTLPMetricExporter()
