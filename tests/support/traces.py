"""A sink of spans, and a tracer for tests of traces."""

from __future__ import annotations

import time
from typing import Any

import attrs
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from orchestrator import (
    Options,
    Vault,
)
from orchestrator.telemetry.tracing import Tracing
from tests.support.clock import FastClock
from tests.support.toy import fast


class Sink:
    """Keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans with this name, in the order in which they were exported."""
        return [span for span in self.spans if span.name == name]

    def tree(self, parent: int | None = None) -> list[Any]:
        """Names by parent, in order of time."""
        found: list[Any] = []
        here = [span for span in self.spans if (span.parent.span_id if span.parent else None) == parent]
        for span in sorted(here, key=lambda span: (span.start_time or 0, span.end_time or 0)):
            below = self.tree(span.context.span_id)
            found.append((span.name, below) if below else span.name)
        return found


class OneTime(FastClock):
    """Its wall time is as fast as its steady time: the beginning of a span is reckoned from a duration."""

    def __init__(self) -> None:
        self._ahead = time.time() - self.steady()

    def now(self) -> float:
        return self.steady() + self._ahead


CLOCK = OneTime()


def tracing(sink: Sink, sampler: Sampler = ALWAYS_ON, *, propagate: bool = False) -> Tracing:
    return Tracing("toy", sink, sampler, Resource({}), propagate=propagate)


def traced(vault: Vault, sink: Sink, sampler: Sampler = ALWAYS_ON, **more: Any) -> Options:
    return attrs.evolve(fast(vault, tracer=tracing(sink, sampler, **more)), clock=CLOCK)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


STATE = {name: (name, [f"{name} run"]) for name in ("one", "two", "three")}
