"""Ids of traces. They are derived from the run and the instance, so that all processes that ever drive an instance write one trace,
and agree whether it is sampled."""

from __future__ import annotations

from hashlib import blake2b
from random import getrandbits


def trace_id_of(run_id: str, number: int) -> int:
    """The trace of an instance: 128 bits that look random, as samplers expect."""
    return int.from_bytes(blake2b(f"{run_id}-{number}".encode(), digest_size=16, person=b"trace").digest(), "big") or 1


def root_id_of(trace_id: int, what: str = "instance") -> int:
    """The root span of a trace."""
    return (
        int.from_bytes(blake2b(trace_id.to_bytes(16, "big") + what.encode(), digest_size=8, person=b"root").digest(), "big") or 1
    )


def new_span_id() -> int:
    """A random span id."""
    return getrandbits(64) or 1


def traceparent(trace_id: int, span_id: int, *, sampled: bool) -> str:
    """The header of W3C Trace Context. Source: https://www.w3.org/TR/trace-context/#traceparent-header"""
    return f"00-{trace_id:032x}-{span_id:016x}-{int(sampled):02x}"
