"""Interrupted runs: stopped, cancelled, and continued by resume."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from orchestrator import (
    RunStatus,
    Status,
    StoreError,
    Vault,
    resume,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.runs import finish
from tests.support.toy import Ledger, fast, toy


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("x")])
async def test_an_exception_that_leaves_the_block_is_raised_itself(
    store: MemoryStore, vault: Vault, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised:
        async with start(toy(Ledger()), store=store, options=fast(vault)):
            raise error
    assert raised.value is error


async def test_stop_lets_the_attempt_finish_and_suspends_without_doubt(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    async with start(toy(ledger), store=store, instances=3, options=fast(vault)) as run:

        async def stop(step: Any) -> None:
            run.stop()
            await anyio.wait_all_tasks_blocked()  # the run has seen it

        ledger.script = {"run two": [stop]}
        result = await run.wait()
        instance = await run.instance(0)
    assert result.interrupted
    assert result.status is RunStatus.INTERRUPTED
    assert result.counts == {Status.SUSPENDED: 1, Status.PENDING: 2}
    assert (instance.position, instance.doubt) == ("three", False)
    async with resume(toy(ledger), run.id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert result.counts == {Status.COMPLETED: 3}
    assert not any(call.startswith("recover") for call in ledger.calls)


async def test_cancel_suspends_in_doubt_and_resume_looks_first(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    async with start(toy(ledger), store=store, options=fast(vault)) as run:

        async def cancelled_after_acting(step: Any) -> None:
            ledger.existing.append("two:0")
            run.cancel()
            await anyio.sleep_forever()

        ledger.script = {"run two": [cancelled_after_acting]}
        await run.wait()
        instance = await run.instance(0)
    assert (instance.status, instance.position, instance.doubt) == (Status.SUSPENDED, "two", True)
    async with resume(toy(ledger), run.id, store=store, options=fast(vault)) as again:
        await again.wait()
    assert ledger.calls == ["run one", "run two", "recover two", "run three"]
    assert ledger.existing == ["one:0", "two:0", "three:0"]


@pytest.mark.parametrize("at", range(1, 40))
async def test_cancelled_anywhere_it_is_resumed_with_one_of_each(vault: Vault, at: int) -> None:
    """Cancel from outside at the ``at``-th step of the event loop, then resume until the run is done."""
    store, ledger = MemoryStore(), Ledger()
    yielding = [lambda step: anyio.sleep(0)] * 50
    ledger.script = {f"run {name}": list(yielding) for name in ("one", "two", "three")}
    run_id = ""
    with anyio.CancelScope() as scope:
        async with start(toy(ledger), store=store, options=fast(vault)) as run:
            run_id = run.id
            for _ in range(at):
                await asyncio.sleep(0)
            scope.cancel()
    runs = (await store.runs()).runs
    if runs and runs[0].status is not RunStatus.FINISHED:
        async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as again:
            result = await again.wait()
        assert result.counts == {Status.COMPLETED: 1}
    assert sorted(ledger.existing) == ["one:0", "three:0", "two:0"]


async def test_a_checkpoint_that_cannot_be_written_stops_the_run(vault: Vault) -> None:
    class Failing(MemoryStore):
        broken = False

        async def save(self, *args: Any, **more: Any) -> None:
            if self.broken:
                raise StoreError("the disk is full")
            await super().save(*args, **more)

    store, ledger = Failing(), Ledger()

    def break_store(step: Any) -> None:
        store.broken = True

    ledger.script = {"run two": [break_store]}
    with pytest.raises(StoreError, match="disk is full"):
        await finish(toy(ledger), store, vault)
    assert ledger.calls == ["run one", "run two"]
    store.broken = False
    run_id = (await store.runs()).runs[0].id
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as run:
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 1}
    assert ledger.existing == ["one:0", "two:0", "three:0"]


async def test_leaving_the_block_waits_and_leaving_it_with_an_exception_suspends(store: MemoryStore, vault: Vault) -> None:
    async with start(toy(Ledger()), store=store, options=fast(vault)):
        pass
    assert (await store.runs()).runs[0].status is RunStatus.FINISHED

    ledger = Ledger(script={"run two": [lambda step: anyio.sleep_forever()]})
    with pytest.raises(LookupError, match="the body's own"):
        async with start(toy(ledger), store=store, options=fast(vault)) as run:
            while "run two" not in ledger.calls:
                await anyio.sleep(0)
            raise LookupError("the body's own")
    assert (await store.run(run.id)).status is RunStatus.INTERRUPTED
