"""Idempotent starts: a second start with an id returns the first run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from orchestrator import (
    EncryptionKeyError,
    LeaseHeldError,
    PermanentError,
    RunConflictError,
    RunExistsError,
    RunStatus,
    Secret,
    ServicesError,
    SettingError,
    Status,
    Store,
    Vault,
    open_store,
    setting,
    start,
)
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.storage.memory import MemoryStore
from tests.support.toy import Ledger, fast, toy


@attrs.frozen(kw_only=True)
class Settings:
    size: int = setting("Size.", default=1)
    password: Secret | None = setting("Password.")
    token: Secret | None = setting("Token.", renewable=True)


@pytest.fixture(params=["memory:", "runs.db"])
async def store(request: pytest.FixtureRequest, home: Path) -> AsyncIterator[Store]:
    async with open_store(request.param) as store:
        yield store


async def finished(store: Store, ledger: Ledger, vault: Vault, **more: Any) -> Any:
    async with start(toy(ledger), store=store, run_id="order", options=fast(vault), **more) as run:
        await run.wait()
    return run


@pytest.mark.parametrize("run_id", ["", "Order", "order-17", "x" * 49])
async def test_an_impossible_id_stores_nothing(run_id: str, store: Store, vault: Vault) -> None:
    with pytest.raises(SettingError, match=r"^id: "):
        async with start(toy(Ledger()), store=store, run_id=run_id, options=fast(vault)):
            pass
    assert (await store.runs()).total == 0


async def test_a_finished_run_is_returned_and_nothing_is_driven(store: Store, vault: Vault) -> None:
    ledger = Ledger()
    first = await finished(store, ledger, vault, instances=2)
    calls, ledger.opening, before = list(ledger.calls), None, await store.run("order")
    async with start(toy(ledger), store=store, run_id="order", instances=2, options=fast(vault)) as run:
        assert (run.id, run.existed, first.existed) == ("order", True, False)
        events = [event async for event in run.events()]
        result = await run.wait()
        assert run.live.count("ended:completed") == first.live.count("ended:completed")
        assert (await run.instance(1)).status is Status.COMPLETED
    assert (result.status, result.counts, events) == (RunStatus.FINISHED, {Status.COMPLETED: 2}, [])
    assert (ledger.calls, ledger.opening) == (calls, None)
    assert await store.run("order") == before
    assert [shard.epoch for shard in await store.shards("order")] == [1]


async def test_an_unfinished_run_is_resumed(store: Store, vault: Vault) -> None:
    ledger = Ledger()

    async def stop(step: Any) -> None:
        run.cancel()
        await anyio.sleep_forever()

    ledger.script["run two"] = [stop]
    async with start(toy(ledger), store=store, run_id="order", options=fast(vault)) as run:
        assert (await run.wait()).interrupted
    async with start(toy(ledger), store=store, run_id="order", options=fast(vault)) as run:
        assert run.existed
        assert (await run.wait()).counts == {Status.COMPLETED: 1}
    assert ledger.calls == ["run one", "run two", "recover two", "run two", "run three"]
    assert (await store.runs()).total == 1


async def test_a_run_that_is_driven_is_refused_with_its_owner(store: Store, vault: Vault) -> None:
    ledger = Ledger(script={"run one": [lambda step: anyio.sleep_forever()]})
    async with start(toy(ledger), store=store, run_id="order", options=fast(vault)) as run:
        with pytest.raises(LeaseHeldError, match="run order is driven by process"):
            async with start(toy(ledger), store=store, run_id="order", options=fast(vault)):
                pass
        run.cancel()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"instances": 3}, "instances is 2, not 3"),
        ({"concurrency": 2}, "concurrency is 1, not 2"),
        ({"scenario": Scenario(rate=1.0, duration=1.0)}, "rate is none, not 1.0; duration is none, not 1.0"),
        ({"on_failure": "keep"}, "on-failure is rollback, not keep"),
        ({"on_success": "teardown"}, "on-success is keep, not teardown"),
        ({"thresholds": ["failed < 1%"]}, "thresholds is none, not failed < 1%"),
        ({"recorded": "all"}, "recorded is failed, not all"),
    ],
)
async def test_other_arguments_are_refused_by_name(other: dict[str, Any], message: str, vault: Vault) -> None:
    store, ledger = MemoryStore(), Ledger()
    await finished(store, ledger, vault, instances=2)
    calls = list(ledger.calls)
    with pytest.raises(RunConflictError) as refused:
        await finished(store, ledger, vault, **({"instances": 2} | other))
    assert message in str(refused.value)
    assert str(refused.value).startswith("run order was started before with other arguments: ")
    assert str(refused.value).endswith("; give the same ones, or another id")
    assert ledger.calls == calls


async def test_another_workflow_is_refused(vault: Vault) -> None:
    store = MemoryStore()
    await finished(store, Ledger(), vault)
    with pytest.raises(RunConflictError, match="workflow is 'toy', not 'other'"):
        async with start(attrs.evolve(toy(Ledger()), name="other"), store=store, run_id="order", options=fast(vault)):
            pass


async def test_other_settings_are_refused_without_their_secrets_and_renewed_ones_are_used(vault: Vault) -> None:
    store, ledger, opened = MemoryStore(), Ledger(), []

    @asynccontextmanager
    async def open_services(settings: Settings, context: object) -> AsyncIterator[Ledger]:
        opened.append(settings)
        yield ledger

    workflow = attrs.evolve(toy(ledger), settings=Settings, open_services=open_services)
    ledger.script["run one"] = [lambda step: run.cancel() or anyio.sleep_forever()]
    before = Settings(password=Secret("hidden1"), token=Secret("hidden2"))
    async with start(workflow, before, store=store, run_id="order", options=fast(vault)) as run:
        await run.wait()
    with pytest.raises(RunConflictError) as refused:
        other = Settings(size=2, password=Secret("hidden3"), token=Secret("hidden4"))
        async with start(workflow, other, store=store, run_id="order", options=fast(vault)):
            pass
    assert "size is 1, not 2; password differs; give" in str(refused.value)
    assert "hidden" not in str(refused.value)
    renewed = attrs.evolve(before, token=Secret("hidden5"))
    async with start(workflow, renewed, store=store, run_id="order", options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.COMPLETED: 1}
    assert opened == [before, renewed]


async def test_another_key_is_refused(vault: Vault) -> None:
    store = MemoryStore()
    await finished(store, Ledger(), vault)
    with pytest.raises(EncryptionKeyError, match="run order was encrypted with the key"):
        await finished(store, Ledger(), Vault(bytes(32), "another key"))


@pytest.mark.parametrize("kind", ["memory:", "runs.db"])
async def test_of_two_starts_at_once_one_stores_the_run_and_each_instance_is_made_once(
    kind: str, home: Path, vault: Vault
) -> None:
    ledger, results = Ledger(), []
    barrier = anyio.Event()

    async def together(settings: Any, context: Any) -> None:
        waiting.append(context)
        if len(waiting) == 2:
            barrier.set()
        await barrier.wait()

    waiting: list[Any] = []

    @asynccontextmanager
    async def open_services(settings: Any, context: Any) -> AsyncIterator[Ledger]:
        if not barrier.is_set():
            await together(settings, context)
        yield ledger

    workflow = attrs.evolve(toy(ledger), open_services=open_services)

    async def one(store: Store) -> None:
        try:
            async with start(workflow, store=store, run_id="order", options=fast(vault)) as run:
                results.append((await run.wait()).status)
        except LeaseHeldError:
            results.append(None)

    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store(kind))]
        stores.append(stores[0] if kind == "memory:" else await stack.enter_async_context(open_store(kind)))
        async with anyio.create_task_group() as tasks:
            for store in stores:
                tasks.start_soon(one, store)
        assert RunStatus.FINISHED in results
        assert (await stores[0].runs()).total == 1
    assert ledger.existing == ["one:0", "two:0", "three:0"]


async def test_services_that_another_start_holds_are_no_failure_of_the_second(vault: Vault) -> None:
    store, ledger = MemoryStore(), Ledger()

    @asynccontextmanager
    async def open_services(settings: Any, context: Any) -> AsyncIterator[Ledger]:
        await finished(store, ledger, vault)  # the first start, meanwhile
        raise ServicesError("in use")
        yield ledger

    workflow = attrs.evolve(toy(ledger), open_services=open_services)
    async with start(workflow, store=store, run_id="order", options=fast(vault)) as run:
        assert (run.existed, (await run.wait()).counts) == (True, {Status.COMPLETED: 1})


async def test_errors_of_services_and_of_the_block_are_raised(vault: Vault) -> None:
    store = MemoryStore()

    @asynccontextmanager
    async def open_services(settings: Any, context: Any) -> AsyncIterator[Ledger]:
        raise ServicesError("no tenant")
        yield Ledger()

    with pytest.raises(ServicesError, match="no tenant"):
        async with start(
            attrs.evolve(toy(Ledger()), open_services=open_services), store=store, run_id="order", options=fast(vault)
        ):
            pass
    assert (await store.runs()).total == 0
    with pytest.raises(RunExistsError, match="of the block"):
        async with start(toy(Ledger()), store=store, run_id="order", options=fast(vault)):
            raise RunExistsError("of the block", "x")


async def test_a_failed_run_is_returned_as_it_failed(vault: Vault) -> None:
    store, ledger = MemoryStore(), Ledger(script={"run two": [PermanentError("no")]})
    await finished(store, ledger, vault)
    async with start(toy(ledger), store=store, run_id="order", options=fast(vault)) as run:
        assert (await run.wait()).counts == {Status.ROLLED_BACK: 1}


async def test_a_run_is_stored_once_and_driven_elsewhere(vault: Vault) -> None:
    store, ledger = MemoryStore(), Ledger()
    for existed in (False, True):
        async with start(toy(ledger), store=store, run_id="order", drive=False, options=fast(vault)) as run:
            assert ((await run.wait()).interrupted, run.existed) == (True, existed)
    assert ledger.calls == []
