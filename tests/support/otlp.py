"""A receiver of OTLP over HTTP, with the official protobuf messages, in a thread: the command line has its own event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message


@attrs.frozen
class Span:
    """A span as it was received."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    begin: int
    end: int
    attributes: dict[str, Any]
    error: str | None
    """Description of the status ``ERROR``; ``None``: it has another status."""
    links: tuple[str, ...]

    @classmethod
    def of(cls, message: Message) -> Span:
        """From its message."""
        return cls(
            trace=message.trace_id.hex(),
            id=message.span_id.hex(),
            parent=message.parent_span_id.hex(),
            name=message.name,
            kind=message.kind,
            begin=message.start_time_unix_nano,
            end=message.end_time_unix_nano,
            attributes=attributes_of(message.attributes),
            error=message.status.message if message.status.code == 2 else None,
            links=tuple(link.span_id.hex() for link in message.links),
        )


def attributes_of(pairs: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Receiver:
    """What a collector has received."""

    def __init__(self, status: int = 200, hangs: bool = False) -> None:
        self.url = ""
        self.bodies: list[tuple[str, bytes]] = []
        """Path and body of each request."""
        self._status, self._hangs = status, hangs
        self._done = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        """Take a request."""
        self.bodies.append((request.path, await request.read()))
        if self._hangs:
            await self._done.wait()
        return web.Response(status=self._status, content_type="application/x-protobuf")

    @property
    def raw(self) -> bytes:
        """Every byte that was received."""
        return b"\n".join(body for _, body in self.bodies)

    @property
    def traces(self) -> list[ExportTraceServiceRequest]:
        """The requests with spans."""
        return [ExportTraceServiceRequest.FromString(body) for path, body in self.bodies if path == "/v1/traces"]

    @property
    def spans(self) -> list[Span]:
        """All spans."""
        return [
            Span.of(span)
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> list[ExportMetricsServiceRequest]:
        """The requests with metrics."""
        return [ExportMetricsServiceRequest.FromString(body) for path, body in self.bodies if path == "/v1/metrics"]

    def variables(self, **more: str) -> dict[str, str]:
        """The variables that send telemetry here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, **more}

    @contextmanager
    def serve(self) -> Iterator[Receiver]:
        """Receive while the block lasts."""
        ready = threading.Event()
        loops: list[asyncio.AbstractEventLoop] = []

        async def main() -> None:
            app = web.Application(client_max_size=1 << 26)
            app.add_routes([web.post("/{path:.*}", self.handle)])
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            loops.append(asyncio.get_running_loop())
            ready.set()
            await self._done.wait()
            await runner.cleanup()

        thread = threading.Thread(target=asyncio.run, args=(main(),))
        thread.start()
        try:
            assert ready.wait(30)
            yield self
        finally:
            loops[0].call_soon_threadsafe(self._done.set)
            thread.join()


def tree_of(spans: list[Span], parent: str = "") -> list[Any]:
    """Names of spans by their parents, in order of time: a name, or a name with those below it."""
    found: list[Any] = []
    for span in sorted((span for span in spans if span.parent == parent), key=lambda span: (span.begin, span.end)):
        below = tree_of(spans, span.id)
        found.append((span.name, below) if below else span.name)
    return found


def assert_whole(spans: list[Span]) -> None:
    """Check that every span has a parent in its trace or is a root, that no id is used twice, and that parents contain children."""
    by_id = {span.id: span for span in spans}
    assert len(by_id) == len(spans)
    for span in spans:
        assert span.begin <= span.end, span.name
        if span.parent:
            assert span.parent in by_id, f"{span.name} has no parent"
            assert by_id[span.parent].trace == span.trace
