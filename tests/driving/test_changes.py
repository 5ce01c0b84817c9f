"""Runs that are resumed under a changed workflow."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest

from orchestrator import (
    Secret,
    Status,
    Vault,
    WorkflowChangedError,
    resume,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.runs import finish, interrupted
from tests.support.toy import Ledger, Making, One, Three, Two, fast, toy


class Three2(Three):
    name = "three"
    version = 2


class Two2(Two):
    name = "two"
    version = 2


class Four(Making):
    transitions: ClassVar = {"done": "completed"}


class ThreeToFour(Three):
    name = "three"
    transitions: ClassVar = {"done": "four"}


async def test_a_change_that_does_not_touch_an_instance_lets_it_go_on(store: MemoryStore, vault: Vault) -> None:
    class Early(Three):
        name = "three"

    ledger = Ledger()
    async with start(toy(ledger), store=store, options=fast(vault)) as run:
        ledger.script["run one"] = [lambda step: run.stop()]
        await run.wait()
    changed = toy(ledger, One(), Two(), ThreeToFour(), Four())
    async with resume(changed, run.id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert result.counts == {Status.COMPLETED: 1}
    assert ledger.calls[-1] == "run four"


@pytest.mark.parametrize("states", [(One(), Two(), Three2()), (One(), Two2(), Three())], ids=["where it stands", "on its trail"])
async def test_a_change_that_touches_an_instance_is_refused_by_name(store: MemoryStore, vault: Vault, states: Any) -> None:
    ledger = Ledger()
    run_id = await interrupted(store, ledger, vault)
    with pytest.raises(WorkflowChangedError, match="is different") as refused:
        async with resume(toy(ledger, *states), run_id, store=store, options=fast(vault)):
            pass
    assert refused.value.touched == (f"{run_id}-0",)
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 1}


async def test_a_migration_carries_an_instance_over(store: MemoryStore, vault: Vault) -> None:
    @attrs.frozen(kw_only=True)
    class Context2:
        made: tuple[str, ...] = ()
        secret: Secret
        colour: str

    def migrate(data: dict[str, Any]) -> dict[str, Any]:
        context = {"made": data["context"]["made"], "secret": data["context"]["secret"], "colour": "green"}
        return data | {"context": context}

    ledger = Ledger()
    run_id = await interrupted(store, ledger, vault)
    changed = toy(ledger, One(), Two(), Three2(), version=2, context=Context2, migrations={1: migrate})
    async with resume(changed, run_id, store=store, options=fast(vault)) as again:
        await again.wait()
        instance = await again.instance(0)
    assert instance.status is Status.COMPLETED
    assert instance.context.colour == "green"
    assert instance.context.secret.reveal() == "toy-secret-value"


async def test_a_change_deep_in_the_context_is_seen_and_migrated(store: MemoryStore, vault: Vault) -> None:
    @attrs.frozen
    class Inner1:
        id: str = "app-1"

    @attrs.frozen
    class Inner2:
        ident: str | None = None

    @attrs.frozen(kw_only=True)
    class Context1:
        made: tuple[str, ...] = ()
        inner: Inner1 = Inner1()

    @attrs.frozen(kw_only=True)
    class Context2:
        made: tuple[str, ...] = ()
        inner: Inner2 = Inner2()

    def migrate(data: dict[str, Any]) -> dict[str, Any]:
        context = {**data["context"], "inner": {"ident": data["context"]["inner"]["id"]}}
        return {**data, "context": context, "version": 2}

    for inner in (Inner1, Inner2):
        globals()[inner.__name__] = inner  # where annotations are resolved
    ledger = Ledger()
    run_id = await interrupted(
        store, ledger, vault, context=Context1, initial_context=lambda run_id, number, settings: Context1()
    )
    with pytest.raises(WorkflowChangedError, match="the context is different"):
        async with resume(toy(ledger, context=Context2), run_id, store=store, options=fast(vault)):
            pass
    changed = toy(ledger, context=Context2, version=2, migrations={1: migrate})
    async with resume(changed, run_id, store=store, options=fast(vault)) as again:
        await again.wait()
        assert (await again.instance(0)).context.inner.ident == "app-1"


async def test_resuming_under_another_workflow_is_refused(store: MemoryStore, vault: Vault) -> None:
    from orchestrator import ConfigurationError

    _, result = await finish(toy(Ledger()), store, vault)
    other = attrs.evolve(toy(Ledger()), name="another")
    with pytest.raises(ConfigurationError, match="'toy', not of 'another'"):
        async with resume(other, result.run_id, store=store, options=fast(vault)):
            pass
