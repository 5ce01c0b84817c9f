"""Traces: the events of an instance and its requests as spans.

::

    token-fulfillment                 the instance; exported when it ends
    ├── create_application            a state, from when it was due until its outcome: retries and waits included
    │   ├── create_application run    an attempt (run, recover)
    │   │   └── POST                  a request
    │   └── …                         further attempts
    └── rollback create_application   the rollback of a state, with its attempts

Rules of this file:

* The trace and its roots have derived ids (:mod:`orchestrator.telemetry.ids`): a resumed instance goes on in the same trace, and a resumed
  ``retry`` or ``cleanup`` under the same root.
* The spans of a state are exported together when it ends, so that no span names a parent that a kill has lost. Only the root is
  missing until the instance has ended.
* Spans are made when they have ended, from stored events: an attempt costs nothing while it runs, and an instance that is not
  sampled costs one test per event. A tracer of the SDK could not take the derived ids, and costs four times as much.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping, Sequence
from contextvars import ContextVar

import attrs
from opentelemetry import context as otel_context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, set_span_in_context

from orchestrator.definition.tracing import TracedRequest
from orchestrator.lifecycle.events import Event, EventKind
from orchestrator.telemetry.ids import new_span_id, root_id_of, trace_id_of, traceparent
from orchestrator.telemetry.spans import (
    UNSET,
    Attributes,
    SpanSink,
    attempt_attributes,
    has_failed,
    make_span,
    nanoseconds,
    outcome_of,
    request_attributes,
    status_of,
)

_SAMPLED, _NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)
_ENDS_STATE = {
    EventKind.MOVED,
    EventKind.FAILED,
    EventKind.ROLLING_BACK,
    EventKind.UNDONE,
    EventKind.LEFT_OVER,
    EventKind.SUSPENDED,
}


@attrs.define(kw_only=True)
class _Live:
    """The trace of an instance that is being driven. Times are Unix seconds."""

    run_id: str
    number: int
    sampled: bool
    root: SpanContext
    name: str
    """Of the root."""
    links: Sequence[Link] = ()
    began_at: float
    state_since: float
    """When the current state was entered."""
    state: SpanContext
    attempt: SpanContext
    """Of the next attempt, or of the one in flight."""
    ended: list[ReadableSpan] = attrs.field(factory=list)
    """Of the current state; the state's own span is the last."""

    def new_span(self) -> SpanContext:
        """A place for another span in this trace."""
        return SpanContext(self.root.trace_id, new_span_id(), False, self.root.trace_flags)

    def enter_state(self, since: float) -> None:
        """A state begins."""
        self.state_since, self.state = since, self.new_span()
        self.expect_attempt()

    def expect_attempt(self) -> None:
        """An attempt comes next."""
        self.attempt = self.new_span()
        self.show()

    def show(self) -> None:
        """Let other instrumentation find the attempt in the context of OpenTelemetry."""
        otel_context.attach(set_span_in_context(NonRecordingSpan(self.attempt), otel_context.Context()))


_current: ContextVar[_Live | None] = ContextVar("orchestrator trace", default=None)


class Tracing:
    """An observer that makes a trace of each instance, and the tracer of its requests.

    Args:
        workflow: Name of the root span.
        sink: Where spans go, e.g. a ``BatchSpanProcessor``.
        sampler: Decides by the id of a trace whether it is recorded.
        propagate: Whether requests carry the header ``traceparent``.
    """

    stored_only = True

    def __init__(
        self,
        workflow: str,
        sink: SpanSink,
        sampler: Sampler,
        resource: Resource,
        *,
        propagate: bool = False,
    ) -> None:
        self._workflow = workflow
        self._sink = sink
        self._sampler = sampler
        self._resource = resource
        self._propagate = propagate

    def __call__(self, event: Event) -> None:
        """See :class:`~orchestrator.lifecycle.events.Observer`. It is called in the task that drives the instance."""
        kind = event.kind
        live = _current.get()
        is_live = live is not None and (live.run_id, live.number) == (event.run_id, event.number)
        # Its trace is live already if its rollback was stored by the task that has started this one.
        if kind is EventKind.STARTED or (not is_live and kind in {EventKind.RESUMED, EventKind.ROLLING_BACK}):
            self._begin(event)
        elif live is not None and is_live and live.sampled:
            self._go_on(live, event)

    def trace_id(self, event: Event) -> str | None:
        """The id of the trace of an instance, for log records; ``None``: it is not sampled."""
        live = _current.get()
        if live is not None and (live.run_id, live.number) == (event.run_id, event.number):
            return f"{live.root.trace_id:032x}" if live.sampled else None
        trace_id = trace_id_of(event.run_id, event.number)
        return f"{trace_id:032x}" if self._samples(trace_id) else None

    def request(self, method: str, url: str, headers: MutableMapping[str, str]) -> TracedRequest | None:
        """See :class:`~orchestrator.definition.tracing.RequestTracer`."""
        live = _current.get()
        if live is None:
            return None
        span = live.new_span() if live.sampled else live.root
        if self._propagate:
            headers["traceparent"] = traceparent(span.trace_id, span.span_id, sampled=live.sampled)
        return _Request(live, span, method, url, self._resource) if live.sampled else None

    def _samples(self, trace_id: int) -> bool:
        # Without a context, a sampler would follow the parent that the last instance has left in the current one.
        found = self._sampler.should_sample(otel_context.Context(), trace_id, self._workflow)
        return found.decision is Decision.RECORD_AND_SAMPLE

    def _begin(self, event: Event) -> None:
        """The first event of an instance in this process."""
        trace_id, again = trace_id_of(event.run_id, event.number), event.again
        sampled = self._samples(trace_id)
        root = SpanContext(trace_id, root_id_of(trace_id), False, _SAMPLED if sampled else _NOT_SAMPLED)
        links: tuple[Link, ...] = ()
        if again is not None:  # the root was exported when the instance had ended
            links = (Link(root),)
            root = SpanContext(trace_id, root_id_of(trace_id, f"{again.how} {again.seq}"), False, root.trace_flags)
        live = _Live(
            run_id=event.run_id,
            number=event.number,
            sampled=sampled,
            root=root,
            name=self._workflow if again is None else f"{self._workflow} {again.how}",
            links=links,
            began_at=again.at if again is not None else event.created_at or event.at,
            state_since=event.at,
            state=root,
            attempt=root,
        )
        _current.set(live)
        if sampled:
            live.enter_state(event.at)
        else:
            live.show()

    def _go_on(self, live: _Live, event: Event) -> None:
        if event.kind is EventKind.ENDED:
            self._end(live, event)
            return
        if event.handler is not None and event.duration_s is not None:
            since = event.at - event.duration_s
            name = f"{event.state} {event.handler}"
            self._add(live, name, live.attempt, live.state, since, event, attempt_attributes(event), status_of(event))
        if event.kind is EventKind.SUSPENDED:
            self._interrupt(live, event)
            _forget()
        elif event.kind in _ENDS_STATE:
            self._end_state(live, event)
            live.enter_state(event.at)
        else:
            live.expect_attempt()

    def _end_state(self, live: _Live, event: Event) -> None:
        if event.kind is EventKind.ROLLING_BACK and event.error is None:
            return  # a teardown begins after the last state
        name = f"rollback {event.state}" if event.handler == "rollback" else event.state
        # The state was due later than it was entered if a pause lies between two rounds.
        since = live.state_since if event.total_s is None else max(live.state_since, event.at - event.total_s)
        attributes: Attributes = {"orchestrator.state": event.state, "orchestrator.outcome": outcome_of(event)}
        self._add(live, name, live.state, live.root, since, event, attributes, status_of(event))
        self._export(live)

    def _interrupt(self, live: _Live, event: Event) -> None:
        """The instance is suspended: export the spans of the current state so far, and the attempt that was cancelled in its request."""
        cut_off = [span.start_time or 0 for span in live.ended if span.parent is live.attempt]
        if cut_off:
            attributes: Attributes = {"orchestrator.state": event.state, "orchestrator.outcome": "interrupted"}
            self._add(live, f"{event.state} run", live.attempt, live.state, min(cut_off) / 1e9, event, attributes, UNSET)
        if live.ended:
            self._end_state(live, event)

    def _end(self, live: _Live, event: Event) -> None:
        status = UNSET if event.outcome == "completed" else Status(StatusCode.ERROR, f"ended: {event.outcome}")
        attributes: Attributes = {
            "orchestrator.run": event.run_id,
            "orchestrator.instance": f"{event.run_id}-{event.number}",
            "orchestrator.workflow": self._workflow,
            "orchestrator.status": str(event.outcome),
        }
        self._add(live, live.name, live.root, None, live.began_at, event, attributes, status, links=live.links)
        self._export(live)
        _forget()

    def _add(
        self,
        live: _Live,
        name: str,
        span: SpanContext,
        parent: SpanContext | None,
        since: float,
        event: Event,
        attributes: Attributes,
        status: Status,
        *,
        links: Sequence[Link] = (),
    ) -> None:
        begin, end = nanoseconds(since), nanoseconds(event.at)
        live.ended.append(make_span(name, span, parent, begin, end, attributes, status, resource=self._resource, links=links))

    def _export(self, live: _Live) -> None:
        for span in live.ended:
            self._sink.on_end(span)
        live.ended.clear()


class _Request:
    """A request in flight."""

    __slots__ = ("_begin_ns", "_live", "_method", "_parent", "_resource", "_span", "_url")

    def __init__(self, live: _Live, span: SpanContext, method: str, url: str, resource: Resource) -> None:
        self._live, self._span, self._parent = live, span, live.attempt
        self._method, self._url, self._resource = method, url, resource
        self._begin_ns = time.time_ns()

    def end(self, status: int | None, error: str | None = None) -> None:
        """See :class:`~orchestrator.definition.tracing.TracedRequest`."""
        span = make_span(
            self._method,
            self._span,
            self._parent,
            self._begin_ns,
            time.time_ns(),
            request_attributes(self._method, self._url, status, error),
            Status(StatusCode.ERROR) if has_failed(status) else UNSET,
            resource=self._resource,
            kind=SpanKind.CLIENT,
        )
        self._live.ended.append(span)


def _forget() -> None:
    """No instance is driven in this task now."""
    _current.set(None)
    otel_context.attach(otel_context.Context())
