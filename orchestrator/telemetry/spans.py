"""Spans of OpenTelemetry: their names, attributes and status, made from events and from requests. Pure.

No span holds a secret: errors of events are masked where they enter the engine; of a request, method, host, path and status are
recorded, and neither query nor headers nor bodies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from orchestrator.lifecycle.events import Event, EventKind
from orchestrator.version import installed_version

Attributes = dict[str, str | int | float | bool]

UNSET = Status(StatusCode.UNSET)

_SCOPE = InstrumentationScope("orchestrator", installed_version())
_PORTS = {"http": 80, "https": 443}
_BEFORE_QUERY = re.compile(r"([^:/?#]+://[^/?#]*)([^?#]*)")
"""Scheme and authority, then the path. Splitting the authority takes longer, and a run has few. Source: RFC 3986, appendix B."""
_FAILED = {
    EventKind.RETRY: "retry",
    EventKind.FAILED: "failed",
    EventKind.ROLLING_BACK: "failed",
    EventKind.LEFT_OVER: "left_over",
}
_OTHERS = {EventKind.NOT_FOUND: "not_found", EventKind.UNDONE: "undone", EventKind.SUSPENDED: "suspended"}


class SpanSink(Protocol):
    """Takes spans that have ended; the span processors of the SDK do."""

    def on_end(self, span: ReadableSpan) -> None: ...


def make_span(
    name: str,
    span: SpanContext,
    parent: SpanContext | None,
    begin_ns: int,
    end_ns: int,
    attributes: Attributes,
    status: Status,
    *,
    resource: Resource,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[Link] = (),
) -> ReadableSpan:
    """A span that has ended. Times are Unix nanoseconds."""
    return ReadableSpan(
        name,
        context=span,
        parent=parent,
        resource=resource,
        attributes=attributes,
        kind=kind,
        links=links,
        status=status,
        start_time=begin_ns,
        end_time=max(begin_ns, end_ns),
        instrumentation_scope=_SCOPE,
    )


def nanoseconds(moment: float) -> int:
    """Unix seconds as a span has them."""
    return int(moment * 1e9)


def outcome_of(event: Event) -> str:
    """How an attempt, or the state that it was the last attempt of, has ended."""
    return _FAILED.get(event.kind) or _OTHERS.get(event.kind) or str(event.outcome)


def status_of(event: Event) -> Status:
    """The status of such a span."""
    return Status(StatusCode.ERROR, event.error) if event.kind in _FAILED else UNSET


def attempt_attributes(event: Event) -> Attributes:
    """Of the attempt that led to an event."""
    attributes: Attributes = {
        "orchestrator.state": event.state,
        "orchestrator.handler": str(event.handler),
        "orchestrator.attempt": event.attempt or 1,
        "orchestrator.outcome": outcome_of(event),
    }
    if event.waited_s:
        attributes["orchestrator.rate_group.wait"] = event.waited_s
    if event.failure is not None:
        attributes["error.type"] = event.failure
    if event.code is not None:
        attributes["orchestrator.error.code"] = event.code
    return attributes


def request_attributes(method: str, url: str, status: int | None, error: str | None) -> Attributes:
    """Of a client span. Source: OpenTelemetry, "Semantic conventions for HTTP spans", HTTP client span."""
    attributes: Attributes = {"http.request.method": method}
    bare = _BEFORE_QUERY.match(url)
    if bare is not None and (server := _server(bare[1])) is not None:
        host, port, shown = server
        attributes["server.address"], attributes["server.port"], attributes["url.full"] = host, port, shown + bare[2]
    if status is not None:
        attributes["http.response.status_code"] = status
    if has_failed(status):
        attributes["error.type"] = error or str(status)
    return attributes


@lru_cache(maxsize=256)
def _server(origin: str) -> tuple[str, int, str] | None:
    """Host, port, and the origin without user and password; ``None``: the request is refused before it is sent."""
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    name = f"[{host}]" if ":" in host else host
    return host, port, f"{parts.scheme}://{name if port == _PORTS.get(parts.scheme) else f'{name}:{port}'}"


def has_failed(status: int | None) -> bool:
    """Whether a request is an error for a client span."""
    return status is None or status >= 400
