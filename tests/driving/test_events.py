"""Streams of events."""

from __future__ import annotations

from typing import Any

import anyio

from orchestrator import (
    Event,
    EventKind,
    Vault,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.toy import Ledger, fast, toy


async def test_two_consumers_of_one_stream_both_end(store: MemoryStore, vault: Vault) -> None:
    seen: list[Event] = []

    async def consume(stream: Any) -> None:
        seen.extend([event async for event in stream])

    async with start(toy(Ledger()), store=store, options=fast(vault)) as run:
        stream = run.events()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(consume, stream)
                tasks.start_soon(consume, stream)
    assert EventKind.ENDED in {event.kind for event in seen}


async def test_events_can_be_iterated_and_end_with_the_run(store: MemoryStore, vault: Vault) -> None:
    async with start(toy(Ledger()), store=store, options=fast(vault)) as run:
        events = [event async for event in run.events()]
    assert [event.outcome for event in events if event.kind is EventKind.MOVED] == ["done"] * 3
    assert events[-1].kind is EventKind.ENDED


async def test_a_slow_consumer_misses_the_oldest_and_is_told_how_many() -> None:
    from orchestrator import EventStream

    stream = EventStream(capacity=3)
    for number in range(5):
        stream(Event(run_id="r", number=number, kind=EventKind.MOVED, at=0.0, state="one"))
    stream.close()
    assert [event.number async for event in stream] == [2, 3, 4]
    assert stream.missed == 2
