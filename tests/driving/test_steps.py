"""Steps of an instance: transitions, retries, recovery, bounded ways back, and one instance beside others."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio

from orchestrator import (
    AmbiguousError,
    EventKind,
    Outcome,
    PermanentError,
    Recovery,
    Repeat,
    Status,
    TransientError,
    Vault,
    done,
    open_store,
    resume,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.runs import finish
from tests.support.toy import Ledger, Making, ToyContext, fast, toy


async def test_states_follow_the_table_and_each_move_is_recorded(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    instance, result = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED
    assert instance.position == "completed"
    assert instance.trail == ("one", "two", "three")
    assert ledger.calls == ["run one", "run two", "run three"]
    kinds = [event.kind for event in await store.events(result.run_id, 0)]
    assert kinds == [EventKind.STARTED, EventKind.MOVED, EventKind.MOVED, EventKind.MOVED, EventKind.ENDED]
    assert [event.seq for event in await store.events(result.run_id, 0)] == [1, 2, 3, 4, 5]


async def test_an_instance_is_stored_before_its_first_attempt_and_each_step_before_the_next(vault: Vault) -> None:
    store, ledger, seen = MemoryStore(), Ledger(), []

    async def look(step: Any) -> None:
        row = (await store.load(step.run_id))[0]
        seen.append((row.status, row.position))

    ledger.script = {"run one": [look], "run two": [look], "run three": [look]}
    await finish(toy(ledger), store, vault)
    assert seen == [(Status.RUNNING, "one"), (Status.RUNNING, "two"), (Status.RUNNING, "three")]


async def test_a_transient_failure_is_repeated_without_a_look(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy"), TransientError("busy")]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED
    assert ledger.calls == ["run one", "run two", "run two", "run two", "run three"]


async def test_a_lost_answer_is_looked_for_and_adopted(store: MemoryStore, vault: Vault) -> None:
    def act_and_lose(step: Any) -> None:
        ledger.existing.append("two:0")
        raise AmbiguousError("the answer is lost")

    ledger = Ledger(script={"run two": [act_and_lose]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED
    assert ledger.calls == ["run one", "run two", "recover two", "run three"]
    assert ledger.existing == ["one:0", "two:0", "three:0"]


async def test_a_lost_request_is_looked_for_and_sent_again(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [AmbiguousError("lost")], "recover two": [Recovery.UNKNOWN]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED
    assert ledger.calls == ["run one", "run two", "recover two", "recover two", "run two", "run three"]


async def test_a_time_out_is_ambiguous(store: MemoryStore, vault: Vault) -> None:
    async def hang(step: Any) -> None:
        await anyio.sleep_forever()

    ledger = Ledger(script={"run one": [hang]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED
    assert ledger.calls[:3] == ["run one", "recover one", "run one"]


async def test_unknown_is_not_a_place_to_stay(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [AmbiguousError("lost")], "recover two": [Recovery.UNKNOWN] * 9})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert ledger.calls.count("recover two") == 2


class Once(Making):
    """May not be repeated."""

    transitions = {"done": "completed"}
    repeat = Repeat.NEVER


async def test_an_effect_that_may_never_be_repeated_is_given_up_without_another_attempt(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    async with start(toy(ledger, Once()), store=store, options=fast(vault)) as run:

        async def cancelled(step: Any) -> None:
            run.cancel()
            await anyio.sleep_forever()

        ledger.script = {"run once": [cancelled]}
        await run.wait()
    async with resume(toy(ledger, Once()), run.id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert result.counts == {Status.ROLLED_BACK: 1}
    assert ledger.calls == ["run once", "rollback once"]
    told = next(event for event in await store.events(run.id, 0) if event.kind is EventKind.ROLLING_BACK)
    assert (told.failure, told.handler, told.attempt, told.duration_s) == ("ambiguous", None, None, None)


async def test_a_way_back_is_bounded_and_then_rolled_back(store: MemoryStore, vault: Vault) -> None:
    back = [lambda step: Outcome("back", step.context)]
    ledger = Ledger(script={"run two": back * 9})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert ledger.calls.count("run two") == 3
    assert "2 times in a row" in instance.failure.message


async def test_failures_of_one_instance_do_not_touch_another(store: MemoryStore, vault: Vault) -> None:
    def odd(step: Any) -> None:
        if step.number % 2:
            raise PermanentError("odd")

    ledger = Ledger(script={"run three": [odd] * 10})
    _, result = await finish(toy(ledger), store, vault, instances=10, concurrency=4)
    assert result.counts == {Status.COMPLETED: 5, Status.ROLLED_BACK: 5}
    assert sorted(ledger.existing) == sorted(f"{name}:{n}" for n in range(0, 10, 2) for name in ("one", "two", "three"))


async def test_no_more_than_the_concurrency_are_driven_at_once(store: MemoryStore, vault: Vault) -> None:
    now, most = 0, 0

    async def count(step: Any) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await anyio.sleep(0.001)  # the work of an attempt, during which the others begin
        now -= 1

    ledger = Ledger(script={f"run {name}": [count] * 20 for name in ("one", "two", "three")})
    await finish(toy(ledger), store, vault, instances=20, concurrency=5)
    assert most == 5


async def test_a_handler_that_waits_for_something_cancelled_is_only_in_doubt(store: MemoryStore, vault: Vault) -> None:
    async def wait_for_cancelled(step: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    ledger = Ledger(script={"run one": [wait_for_cancelled]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED
    assert ledger.calls[:3] == ["run one", "recover one", "run one"]


async def test_an_error_in_a_task_group_of_a_handler_is_unwrapped(store: MemoryStore, vault: Vault) -> None:
    async def fail_in_a_group(step: Any) -> None:
        async with anyio.create_task_group():
            raise TransientError("busy")

    ledger = Ledger(script={"run one": [fail_in_a_group]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED


async def test_sqlite_keeps_the_same_promises(vault: Vault, tmp_path: Any) -> None:
    ledger = Ledger(script={"run three": [PermanentError("no")] * 2})
    async with open_store(f"sqlite:{tmp_path / 'runs.db'}") as store:
        _, result = await finish(toy(ledger), store, vault, instances=20, concurrency=7)
        assert result.counts == {Status.COMPLETED: 18, Status.ROLLED_BACK: 2}
        assert len(await store.events(result.run_id, 19)) >= 5
    assert b"toy-secret-value" not in (tmp_path / "runs.db").read_bytes()


async def test_done_is_short_for_the_outcome_done() -> None:
    assert done(ToyContext()) == Outcome("done", ToyContext())
