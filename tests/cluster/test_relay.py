"""Observers of the launcher receive the events of its workers, in order, and log records of workers are logged there."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from orchestrator import Event, Options, Store, start
from orchestrator.cluster.relay import Batch, Receiver, RelayHandler, Sender
from orchestrator.driving.observers import Observers
from orchestrator.driving.orders import Observed
from orchestrator.errors import SettingError
from orchestrator.lifecycle.events import EventKind
from tests.support.pool import LEDGER, WORKFLOW, TaskPool


class Stored:
    """An observer that wants no events of attempts."""

    stored_only = True

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.seen.append(event)


@pytest.mark.parametrize("leaves_attempts_out", [True, False])
async def test_observers_receive_the_stored_history_of_every_instance(store: Store, leaves_attempts_out: bool) -> None:
    observed = Stored()
    observer: Any = observed if leaves_attempts_out else observed.seen.append
    options = Options(observers=[observer])
    async with start(WORKFLOW, store=store, instances=9, concurrency=4, cluster=TaskPool(2).open, options=options) as run:
        await run.wait()
    for number in range(9):
        mine = [event for event in observed.seen if event.number == number and event.seq is not None]
        history = await store.events(run.id, number)
        assert [(event.seq, event.kind, event.at) for event in mine] == [(one.seq, one.kind, one.at) for one in history]
    attempts = {event.kind for event in observed.seen if event.seq is None}
    assert attempts == (set() if leaves_attempts_out else {EventKind.ATTEMPT, EventKind.ANSWER})


async def test_a_stream_that_is_opened_late_receives_what_follows(store: Store) -> None:
    held = anyio.Event()
    LEDGER.script["run second"] = [lambda step: held.wait()] * 4
    async with start(WORKFLOW, store=store, instances=4, concurrency=4, cluster=TaskPool(2).open) as run:
        while len(LEDGER.calls) < 8:
            await anyio.sleep(0.01)
        stream = run.events()
        # The launcher tells its workers within a second, and these look once a second.
        await anyio.sleep(2.5)
        held.set()
        found = [event.kind async for event in stream if event.seq is not None]
    assert found.count(EventKind.ENDED) == 4


async def test_an_observer_that_raises_is_switched_off_and_named(store: Store) -> None:
    def broken(event: Event) -> None:
        raise ZeroDivisionError

    options = Options(observers=[broken])
    async with start(WORKFLOW, store=store, instances=4, concurrency=2, cluster=TaskPool(2).open, options=options) as run:
        result = await run.wait()
    assert len(result.observer_failures) == 1
    assert "ZeroDivisionError" in result.observer_failures[0]


async def test_a_tracer_is_refused_because_it_sees_one_process_only(store: Store) -> None:
    options = Options(tracer=Stored())  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="a tracer sees the requests of its own process only; give worker_traces"):
        async with start(WORKFLOW, store=store, cluster=TaskPool(2).open, options=options):
            pass


def test_a_batch_travels_as_json() -> None:
    event = Event(run_id="r", number=3, kind=EventKind.RETRY, at=1.5, state="a", error="é\n", seq=7, total_s=0.25)
    batch = Batch(number=2, events=[event], records=[{"message": "m", "fields": {}}])
    assert Batch.loads(batch.dumps()) == batch


async def test_a_warning_of_a_worker_is_logged_by_the_launcher_with_its_run(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Batch] = []
    sender = Sender(sent.append, {"run": "r1", "shards": [2]})
    handler = RelayHandler(sender)
    for name, error in (("states.x", ZeroDivisionError("no")), ("distributed.worker", None)):
        info = None if error is None else (type(error), error, None)
        handler.handle(logging.LogRecord(name, logging.WARNING, "", 0, "it is %s", ("slow",), info))
    handler.handle(logging.LogRecord("states.x", logging.WARNING, "", 0, "again", (), None))
    sender.flush()
    [batch] = sent
    Receiver(Observers()).take("a", Batch.loads(batch.dumps()))
    first, second = caplog.records
    assert (first.name, first.getMessage(), second.getMessage()) == ("states.x", "it is slow", "again")
    fields: dict[str, Any] = first.fields  # type: ignore[attr-defined]
    assert fields["run"] == "r1"
    assert fields["shards"] == [2]
    assert "ZeroDivisionError: no" in fields["exception"]
    before = len(sent)
    for record in caplog.records:
        handler.handle(record)  # in a process that is launcher and worker
    sender.flush()
    assert len(sent) == before


async def test_the_launcher_waits_for_the_last_batch() -> None:
    seen = Stored()
    receiver = Receiver(Observers([seen]))
    assert receiver.observed is Observed.STORED
    order: list[str] = []

    async def wait() -> None:
        await receiver.wait_for("a", 2)
        order.append("waited")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        for number in (1, 2):
            await anyio.wait_all_tasks_blocked()
            order.append(f"batch {number}")
            receiver.take("a", Batch(number=number))
    assert order == ["batch 1", "batch 2", "waited"]
