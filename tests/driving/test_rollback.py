"""Rollback, and the cleanup of what a run left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

from orchestrator import (
    AmbiguousError,
    PermanentError,
    RunStatus,
    ServicesError,
    Status,
    TransientError,
    Vault,
    cleanup,
    resume,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.runs import finish, stopped_after
from tests.support.toy import Ledger, fast, toy


async def test_rollback_covers_the_state_that_failed_and_goes_newest_first(store: MemoryStore, vault: Vault) -> None:
    def act_and_refuse(step: Any) -> None:
        ledger.existing.append("three:0")
        raise PermanentError("refused")

    ledger = Ledger(script={"run three": [act_and_refuse]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert ledger.calls[3:] == ["rollback three", "rollback two", "rollback one"]
    assert ledger.existing == []
    assert instance.failure is not None
    assert instance.failure.message == "refused"


async def test_one_failing_rollback_does_not_stop_the_rest_and_cleanup_tries_again(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run three": [PermanentError("no")], "rollback two": [PermanentError("locked")]})
    instance, result = await finish(toy(ledger), store, vault)
    assert instance.status is Status.ROLLBACK_FAILED
    assert [(left.state, left.effect.name, left.error) for left in instance.leftovers] == [("two", "two:0", "locked")]
    assert ledger.existing == ["two:0"]
    async with cleanup(toy(ledger), result.run_id, store=store, options=fast(vault)) as run:
        await run.wait()
        instance = await run.instance(0)
    assert instance.status is Status.ROLLED_BACK
    assert instance.leftovers == ()
    assert ledger.existing == []


async def test_a_rollback_is_retried(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("no")], "rollback one": [AmbiguousError("lost"), TransientError("busy")]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert ledger.calls.count("rollback one") == 3


async def test_keep_leaves_everything_for_cleanup(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run three": [PermanentError("no")]})
    instance, result = await finish(toy(ledger), store, vault, on_failure="keep")
    assert instance.status is Status.FAILED
    assert instance.trail == ("one", "two", "three")
    assert ledger.existing == ["one:0", "two:0"]
    async with cleanup(toy(ledger), result.run_id, store=store, options=fast(vault)) as run:
        await run.wait()
    assert ledger.existing == []


async def test_teardown_ends_as_completed(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    instance, _ = await finish(toy(ledger), store, vault, on_success="teardown")
    assert instance.status is Status.COMPLETED
    assert instance.position == "completed"
    assert instance.trail == ()
    assert ledger.existing == []


async def test_a_cleanup_retries_the_leftovers_of_a_rollback(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    async with start(toy(ledger), store=store, options=fast(vault)) as run:

        def stop(step: Any) -> None:
            run.cancel()

        ledger.script = {"run three": [PermanentError("no")], "rollback two": [PermanentError("locked")], "rollback one": [stop]}
        await run.wait()
        left = await run.instance(0)
    assert (left.status, [one.state for one in left.leftovers]) == (Status.ROLLING_BACK, ["two"])
    async with cleanup(toy(ledger), run.id, store=store, options=fast(vault)) as again:
        await again.wait()
        instance = await again.instance(0)
    assert (instance.status, instance.leftovers) == (Status.ROLLED_BACK, ())
    assert ledger.existing == []


async def test_cleanup_of_an_interrupted_run_removes_effects_of_requests_in_flight(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    async with start(toy(ledger), store=store, instances=3, options=fast(vault)) as run:

        async def cancelled_after_acting(step: Any) -> None:
            ledger.existing.append("two:0")
            run.cancel()
            await anyio.sleep_forever()

        ledger.script = {"run two": [cancelled_after_acting]}
        await run.wait()
    async with cleanup(toy(ledger), run.id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert ledger.existing == []
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.ROLLED_BACK: 1, Status.PENDING: 2}


async def test_an_interrupted_cleanup_is_continued_by_cleanup_and_by_resume(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    run_id = await stopped_after(ledger, store, vault, 3, total=8)
    async with cleanup(toy(ledger), run_id, store=store, options=fast(vault)) as again:

        async def cancelled(step: Any) -> None:
            again.cancel()
            await anyio.sleep_forever()

        ledger.script = {"rollback three": [None, cancelled]}
        result = await again.wait()
    assert result.status is RunStatus.CLEANING_UP
    assert (await store.run(run_id)).status is RunStatus.CLEANING_UP
    assert ledger.existing
    ledger.calls.clear()
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert ledger.existing == []
    assert not [call for call in ledger.calls if call.startswith("run")]
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.COMPLETED: 3, Status.PENDING: 5}


async def test_a_finished_run_stays_so_if_its_cleanup_dies(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    run_id = await stopped_after(ledger, store, vault, 2, total=4)
    async with cleanup(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        await again.wait()
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        ledger.calls.clear()
        assert (await again.wait()).status is RunStatus.FINISHED
    assert ledger.calls == []


async def test_a_cleanup_that_cannot_begin_leaves_the_run_to_be_resumed(store: MemoryStore, vault: Vault) -> None:
    @asynccontextmanager
    async def closed(settings: object, opening: Any) -> AsyncIterator[Ledger]:
        raise ServicesError("the credentials are wrong")
        yield ledger

    ledger = Ledger()
    run_id = await stopped_after(ledger, store, vault, 2, total=4)
    with pytest.raises(ServicesError):
        async with cleanup(attrs.evolve(toy(ledger), open_services=closed), run_id, store=store, options=fast(vault)):
            pass
    assert (await store.run(run_id)).status is RunStatus.INTERRUPTED
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert result.counts == {Status.COMPLETED: 4}
