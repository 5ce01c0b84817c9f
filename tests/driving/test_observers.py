"""Observers of a run: one that raises is reported once and switched off, and the run and the other observers go on."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
import pytest

from orchestrator import Event, EventKind, PermanentError, Status, Vault, resume, retry, start
from orchestrator.inspection.result import RunResult
from orchestrator.load.collector import Collector
from orchestrator.storage.memory import MemoryStore
from tests.support.toy import Ledger, fast, toy


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


class Failing:
    """Raises on every event of one kind."""

    def __init__(self, kind: EventKind, error: BaseException) -> None:
        self.kind, self.error = kind, error
        self.calls: list[EventKind] = []

    def __call__(self, event: Event) -> None:
        self.calls.append(event.kind)
        if event.kind is self.kind:
            raise self.error


async def run_with(store: MemoryStore, vault: Vault, *observers: Any, instances: int = 1) -> RunResult:
    async with start(toy(Ledger()), store=store, instances=instances, options=fast(vault, observers=observers)) as run:
        return await run.wait()


@pytest.mark.parametrize("kind", [EventKind.STARTED, EventKind.ATTEMPT, EventKind.ANSWER, EventKind.MOVED, EventKind.ENDED])
async def test_a_failing_observer_is_switched_off_and_the_run_completes(
    store: MemoryStore, vault: Vault, caplog: pytest.LogCaptureFixture, kind: EventKind
) -> None:
    failing = Failing(kind, RuntimeError("no room"))
    result = await run_with(store, vault, failing, instances=3)
    assert result.counts == {Status.COMPLETED: 3}
    assert failing.calls.count(kind) == 1
    assert failing.calls[-1] is kind
    text = f"the observer Failing failed on the event '{kind.value}' and was switched off: RuntimeError: no room"
    assert result.observer_failures == (text,)
    assert [record.getMessage() for record in caplog.records] == [f"{text}; the run goes on"]
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].exc_info


async def test_other_observers_miss_no_event(store: MemoryStore, vault: Vault) -> None:
    before, after = list[Event](), list[Event]()
    failing = [Failing(EventKind.STARTED, RuntimeError("a")), Failing(EventKind.ATTEMPT, ValueError("b"))]
    result = await run_with(store, vault, before.append, *failing, after.append)
    assert before == after
    assert [event.kind for event in before if event.seq] == [
        EventKind.STARTED,
        EventKind.MOVED,
        EventKind.MOVED,
        EventKind.MOVED,
        EventKind.ENDED,
    ]
    assert len(result.observer_failures) == 2


async def test_a_cancelled_error_of_an_observer_is_no_cancellation(store: MemoryStore, vault: Vault) -> None:
    result = await run_with(store, vault, Failing(EventKind.MOVED, asyncio.CancelledError()))
    assert result.counts == {Status.COMPLETED: 1}
    assert result.observer_failures[0].endswith("switched off: CancelledError")


async def test_a_function_is_named_by_its_qualified_name(store: MemoryStore, vault: Vault) -> None:
    def notify(event: Event) -> None:
        raise KeyError(event.state)

    result = await run_with(store, vault, notify)
    assert "the observer test_a_function_is_named_by_its_qualified_name.<locals>.notify failed" in result.observer_failures[0]


async def test_an_observer_without_failures_is_not_reported(
    store: MemoryStore, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    result = await run_with(store, vault, list[Event]().append)
    assert result.observer_failures == ()
    assert caplog.records == []


async def test_a_stream_gets_every_event_beside_a_failing_observer(store: MemoryStore, vault: Vault) -> None:
    failing = Failing(EventKind.STARTED, RuntimeError("no"))
    async with start(toy(Ledger()), store=store, options=fast(vault, observers=[failing])) as run:
        kinds = [event.kind async for event in run.events()]
        assert (await run.wait()).counts == {Status.COMPLETED: 1}
    assert kinds.count(EventKind.MOVED) == 3
    assert kinds[-1] is EventKind.ENDED


async def test_a_stream_whose_reader_fails_or_stops_does_not_end_the_run(store: MemoryStore, vault: Vault) -> None:
    async with start(toy(Ledger()), store=store, instances=2, options=fast(vault)) as run:
        failing, stopping, whole = run.events(), run.events(), run.events()
        with pytest.raises(LookupError):
            async for event in failing:
                raise LookupError(event.kind)
        async for _ in stopping:
            break
        assert (await run.wait()).counts == {Status.COMPLETED: 2}
        assert sum([event.kind is EventKind.ENDED async for event in whole]) == 2


async def test_an_observer_that_fails_while_a_run_is_put_back_does_not_stop_the_retry(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")]})
    async with start(toy(ledger), store=store, on_failure="keep", options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.FAILED: 1}
    failing = Failing(EventKind.PUT_BACK, RuntimeError("no"))
    async with retry(toy(ledger), run.id, store=store, options=fast(vault, observers=[failing])) as again:
        result = await again.wait()
    assert result.counts == {Status.COMPLETED: 1}
    assert failing.calls == [EventKind.PUT_BACK]


async def test_an_interrupted_run_reports_the_failure_too(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [lambda step: anyio.sleep_forever()]})
    failing = Failing(EventKind.MOVED, RuntimeError("no"))
    async with start(toy(ledger), store=store, options=fast(vault, observers=[failing])) as run:
        while "run two" not in ledger.calls:
            await anyio.sleep(0)
        run.cancel()
        result = await run.wait()
    assert result.interrupted
    assert len(result.observer_failures) == 1
    async with resume(toy(ledger), run.id, store=store, options=fast(vault)) as run:
        assert (await run.wait()).observer_failures == ()


async def test_a_failure_of_the_collector_ends_the_run(store: MemoryStore, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds must not be judged on a part of the measurements."""

    def failing(self: Collector, event: Event) -> None:
        raise RuntimeError("the collector's own")

    monkeypatch.setattr(Collector, "__call__", failing)
    with pytest.raises(RuntimeError, match="the collector's own"):
        await run_with(store, vault)
