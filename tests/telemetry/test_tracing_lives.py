"""Traces over several lives of an instance: resumptions, retries, clean-ups and sampling."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

from orchestrator import (
    PermanentError,
    Scenario,
    Status,
    TransientError,
    Vault,
    cleanup,
    resume,
    retry,
    start,
)
from orchestrator.storage.memory import MemoryStore
from orchestrator.telemetry.ids import root_id_of, trace_id_of
from tests.support.toy import Ledger, fast, toy
from tests.support.traces import STATE, Sink, attributes, traced, tracing


async def test_two_lives_of_an_instance_join_one_trace_with_one_root(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy"), lambda step: run.stop()]})
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        assert (await run.wait()).interrupted
    assert sink.named("toy") == [], "the instance has not ended"
    began = (await store.load(run.id))[0]
    later = Sink()
    async with resume(toy(ledger), run.id, store=store, options=traced(vault, later)) as again:
        await again.wait()
    both = Sink()
    both.spans = sink.spans + later.spans
    assert {span.context.trace_id for span in both.spans} == {trace_id_of(run.id, 0)}
    names = [entry[0] for entry in both.tree()[0][1]]
    assert names == ["one", "two", "three"]
    [root] = both.named("toy")
    assert root.start_time is not None
    assert root.start_time <= min(span.start_time or 0 for span in both.spans)
    assert began.number == 0


async def test_an_attempt_that_is_cancelled_leaves_no_span_without_a_parent(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    tracer = tracing(sink)

    async def asks(step: Any) -> None:
        request = tracer.request("POST", "https://api.example.com/things?secret=x", {})
        assert request is not None
        try:
            run.cancel()
            await anyio.sleep_forever()
        except BaseException as error:
            request.end(None, type(error).__name__)
            raise

    ledger = Ledger(script={"run two": [asks]})
    async with start(toy(ledger), store=store, options=fast(vault, tracer=tracer)) as run:
        assert (await run.wait()).interrupted
    ids = {span.context.span_id for span in sink.spans} | {root_id_of(trace_id_of(run.id, 0))}
    assert all(span.parent is not None and span.parent.span_id in ids for span in sink.spans)
    assert attributes(sink.named("two run")[0])["orchestrator.outcome"] == "interrupted"
    assert attributes(sink.named("two")[0])["orchestrator.outcome"] == "suspended"
    assert attributes(sink.named("POST")[0])["error.type"] == "CancelledError"


async def test_a_retried_instance_has_a_second_root_with_a_link_to_the_first(
    store: MemoryStore, vault: Vault, sink: Sink
) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")]})
    async with start(toy(ledger), store=store, on_failure="keep", options=traced(vault, sink)) as run:
        await run.wait()
    async with retry(toy(ledger), run.id, store=store, options=traced(vault, sink)) as again:
        await again.wait()
    first, second = sink.named("toy")[0], sink.named("toy retry")[0]
    assert first.context is not None
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert sink.tree() == [("toy", [STATE["one"], STATE["two"]]), ("toy retry", [STATE["two"], STATE["three"]])]


async def test_a_retry_that_is_interrupted_has_one_root(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no"), lambda step: again.stop()]})
    async with start(toy(ledger), store=store, on_failure="keep", options=traced(vault, sink)) as run:
        await run.wait()
    async with retry(toy(ledger), run.id, store=store, options=traced(vault, sink)) as again:
        assert (await again.wait()).interrupted
    assert sink.named("toy retry") == [], "the retry has not ended"
    async with resume(toy(ledger), run.id, store=store, options=traced(vault, sink)) as third:
        await third.wait()
    assert_one_root_each(sink, "toy", "toy retry")
    [second] = sink.named("toy retry")
    assert [link.context.span_id for link in second.links] == [root_id_of(trace_id_of(run.id, 0))]
    assert second.start_time is not None
    assert second.start_time <= min(span.start_time or 0 for span in below(sink, second))


async def test_a_second_retry_has_another_root(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no"), PermanentError("still no")]})
    async with start(toy(ledger), store=store, on_failure="keep", options=traced(vault, sink)) as run:
        await run.wait()
    for _ in range(2):
        async with retry(toy(ledger), run.id, store=store, options=traced(vault, sink)) as again:
            await again.wait()
    assert_one_root_each(sink, "toy", "toy retry", "toy retry")


@pytest.mark.parametrize("number", [None, 0])
async def test_a_cleanup_that_is_interrupted_has_one_root(
    store: MemoryStore, vault: Vault, sink: Sink, number: int | None
) -> None:
    ledger = Ledger(script={"rollback two": [lambda step: again.stop()]})
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        await run.wait()
    async with cleanup(toy(ledger), run.id, store=store, number=number, options=traced(vault, sink)) as again:
        assert (await again.wait()).interrupted
    async with resume(toy(ledger), run.id, store=store, options=traced(vault, sink)) as third:
        await third.wait()
    assert_one_root_each(sink, "toy", "toy cleanup")


async def test_the_rollback_of_an_interrupted_instance_belongs_to_its_first_root(
    store: MemoryStore, vault: Vault, sink: Sink
) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy"), lambda step: run.stop()]})
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        assert (await run.wait()).interrupted
    async with cleanup(toy(ledger), run.id, store=store, options=traced(vault, sink)) as again:
        await again.wait()
    assert_one_root_each(sink, "toy")


def below(sink: Sink, root: ReadableSpan) -> list[ReadableSpan]:
    assert root.context is not None
    return [span for span in sink.spans if span.parent is not None and span.parent.span_id == root.context.span_id]


def assert_one_root_each(sink: Sink, *names: str) -> None:
    """These roots and no other, no id twice, and the parent of each span was exported."""
    assert [span.name for span in sink.spans if span.parent is None] == list(names)
    ids = [span.context.span_id for span in sink.spans]
    assert len(set(ids)) == len(ids)
    assert {span.parent.span_id for span in sink.spans if span.parent is not None} <= set(ids)


@pytest.mark.parametrize("number", [None, 0])
async def test_a_cleanup_has_a_root_of_its_own(store: MemoryStore, vault: Vault, sink: Sink, number: int | None) -> None:
    ledger = Ledger()
    async with start(toy(ledger), store=store, options=traced(vault, sink)) as run:
        await run.wait()
    async with cleanup(toy(ledger), run.id, store=store, number=number, options=traced(vault, sink)) as again:
        await again.wait()
    second = sink.tree()[1]
    assert second[0] == "toy cleanup"
    assert [name for name, _ in second[1]] == ["rollback three", "rollback two", "rollback one"]
    assert len({span.context.span_id for span in sink.spans}) == len(sink.spans)


async def test_an_instance_that_is_not_sampled_has_no_span(store: MemoryStore, vault: Vault, sink: Sink) -> None:
    async with start(toy(Ledger()), store=store, instances=3, options=traced(vault, sink, ALWAYS_OFF)) as run:
        await run.wait()
    assert sink.spans == []


@pytest.mark.parametrize("sampler", [TraceIdRatioBased(0.5), ParentBased(TraceIdRatioBased(0.5))], ids=["ratio", "parent based"])
async def test_sampling_follows_the_trace_id_in_every_life(
    store: MemoryStore, vault: Vault, sink: Sink, sampler: Sampler
) -> None:
    ledger = Ledger()
    ledger.script = {"run two": [lambda step: run.stop() if step.number == 20 else None] * 99}
    scenario = Scenario(instances=40, concurrency=4)
    async with start(toy(ledger), store=store, scenario=scenario, options=traced(vault, sink, sampler)) as run:
        await run.wait()
    async with resume(toy(ledger), run.id, store=store, options=traced(vault, sink, sampler)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 40}
    expected = {n for n in range(40) if trace_id_of(run.id, n) & (1 << 64) - 1 < 1 << 63}
    assert 5 < len(expected) < 35
    for name in ("toy", "one", "two", "three"):
        assert sorted(span.context.trace_id for span in sink.named(name)) == sorted(
            trace_id_of(run.id, number) for number in expected
        )


# Requests
