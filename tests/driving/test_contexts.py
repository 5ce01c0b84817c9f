"""Contexts of instances: what is stored, read back, refused and sealed."""

from __future__ import annotations

import dataclasses
import re
from functools import cached_property
from typing import Any

import attrs
import pytest

from orchestrator import (
    CheckpointError,
    DefinitionError,
    Outcome,
    PermanentError,
    Secret,
    Status,
    Vault,
    cleanup,
    done,
    open_store,
    start,
)
from orchestrator.lifecycle.moves import admit
from orchestrator.storage.checkpoint import Codec
from orchestrator.storage.memory import MemoryStore
from tests.support.runs import finish
from tests.support.toy import Ledger, One, Three, ToyContext, Two, fast, toy


@attrs.frozen(kw_only=True)
class WideContext(ToyContext):
    """Accepts any object that is a number."""

    big: int = 0


class Wide(One):
    """Stores a number that JSON cannot represent."""

    name = "one"

    async def run(self, step: Any) -> Outcome[Any]:
        await step.services.call("run wide", step)
        step.services.existing.append(f"wide:{step.number}")
        return done(attrs.evolve(step.context, big=2**70 if step.number == 1 else 7))

    async def rollback(self, step: Any) -> None:
        await step.services.call(f"rollback wide {step.may_have_run}", step)
        step.services.existing.remove(f"wide:{step.number}")


async def test_a_context_that_cannot_be_stored_keeps_its_instance_and_no_other(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    workflow = toy(ledger, Wide(), Two(), Three(), context=WideContext, initial_context=lambda *_: WideContext())
    async with start(workflow, store=store, instances=3, concurrency=3, options=fast(vault)) as run:
        result = await run.wait()
        kept = await run.instance(1)
    assert result.counts == {Status.COMPLETED: 2, Status.FAILED: 1}
    assert (kept.failure.kind, kept.failure.state) == ("bug", "one")
    assert "cannot be stored" in kept.failure.message
    async with cleanup(workflow, result.run_id, store=store, options=fast(vault)) as again:
        await again.wait()
    assert ledger.existing == []
    assert ledger.calls.count("rollback wide True") == 1


@pytest.mark.parametrize(
    "error",
    [PermanentError("half of \udce4"), PermanentError("x", code=Status), PermanentError(["a", "list"]), ValueError("\udce4")],
)
async def test_any_text_of_a_handler_can_be_stored(store: MemoryStore, vault: Vault, tmp_path: Any, error: Exception) -> None:
    ledger = Ledger(script={"run two": [error]})
    async with open_store(f"sqlite:{tmp_path / 'runs.db'}") as store_:
        instance, _ = await finish(toy(ledger), store_, vault, on_failure="keep")
    assert instance.status is Status.FAILED
    assert instance.failure.message


async def test_a_context_that_could_not_be_read_back_is_not_stored(store: MemoryStore, vault: Vault) -> None:
    """Without this, a clean-up could not reach the created objects."""

    def confused(step: Any) -> Any:
        step.services.existing.append("two:0")
        return done(attrs.evolve(step.context, rounds="many"))

    ledger = Ledger(script={"run two": [confused]})
    instance, result = await finish(toy(ledger), store, vault)
    assert (instance.status, instance.context.rounds) == (Status.FAILED, 0)
    assert "rounds" in instance.failure.message
    async with cleanup(toy(ledger), result.run_id, store=store, options=fast(vault)) as again:
        await again.wait()
    assert ledger.existing == []


async def test_the_initial_context_is_of_the_class_of_the_workflow(store: MemoryStore, vault: Vault) -> None:
    with pytest.raises(DefinitionError, match="its initial context is a NoneType, not a ToyContext"):
        await finish(toy(Ledger(), initial_context=lambda *_: None), store, vault)


async def test_an_outcome_comes_with_the_context_of_its_workflow(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [done(None)]})
    instance, result = await finish(toy(ledger), store, vault)
    assert instance.status is Status.FAILED
    assert "is a NoneType, not a ToyContext" in instance.failure.message
    async with cleanup(toy(ledger), result.run_id, store=store, options=fast(vault)) as again:
        await again.wait()
    assert ledger.existing == []


@attrs.frozen(kw_only=True)
class OpaqueContext:
    """The type to read back is ambiguous."""

    anything: object = None


async def test_a_context_that_cannot_be_read_back_is_refused_before_anything_is_sent(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    workflow = toy(ledger, context=OpaqueContext, initial_context=lambda *_: OpaqueContext())
    with pytest.raises(DefinitionError, match="OpaqueContext cannot be read back"):
        await finish(workflow, store, vault)
    assert ledger.calls == []


async def test_one_sealed_value_that_does_not_open_does_not_hold_up_the_rest(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    _, result = await finish(toy(ledger), store, vault, instances=3)
    rows = await store.load(result.run_id)
    for number, sealed in ((0, '{"$sealed":"x"}'), (1, '{"$sealed":7}')):
        body = re.sub(rb'"secret":\{[^}]*\}', f'"secret":{sealed}'.encode(), rows[number].body)
        assert body != rows[number].body
        store._instances[result.run_id][number] = attrs.evolve(rows[number], body=body)
    with pytest.raises(
        CheckpointError, match=r"-0: its encrypted data .* \(and 1 more like it\); all other instances were driven"
    ):
        async with cleanup(toy(ledger), result.run_id, store=store, options=fast(vault)) as again:
            await again.wait()
    assert [name for name in ledger.existing if name.endswith(":2")] == []


async def test_secrets_are_sealed_in_the_checkpoint(store: MemoryStore, vault: Vault) -> None:
    instance, result = await finish(toy(Ledger()), store, vault)
    body = (await store.load(result.run_id))[0].body
    assert b"toy-secret-value" not in body
    assert instance.context.secret == Secret("toy-secret-value")
    assert "toy-secret-value" not in repr(instance)


async def test_an_instance_that_cannot_be_read_does_not_hold_up_the_rest(store: MemoryStore, vault: Vault) -> None:
    from orchestrator import CheckpointError

    ledger = Ledger()
    _, result = await finish(toy(ledger), store, vault, instances=3)
    rows = store._instances[result.run_id]
    rows[1] = attrs.evolve(rows[1], body=b'{"format": 99}')
    with pytest.raises(CheckpointError, match=r"format 99.*all other instances were driven"):
        async with cleanup(toy(ledger), result.run_id, store=store, options=fast(vault)) as run:
            await run.wait()
    assert sorted(ledger.existing) == ["one:1", "three:1", "two:1"]


@dataclasses.dataclass
class Plain:
    shown: int
    _hidden: int = 3


@attrs.frozen
class Odd:
    plain: Plain
    by_bytes: dict[bytes, int]


async def test_a_context_of_dataclasses_and_odd_keys_comes_back_as_it_was(store: MemoryStore, vault: Vault) -> None:
    context = Odd(Plain(1, 2), {b"a": 1})
    workflow = toy(Ledger(), context=Odd, initial_context=lambda run_id, number, settings: context)
    codec: Codec[Any] = Codec(workflow, vault)
    instance = admit(workflow, "261123-000000", 0, context, 1.0)
    assert codec.decode(codec.encode(instance, history=1), {}).context == context


@attrs.frozen(slots=False)
class Cached:
    names: tuple[str, ...]
    by_number: dict[int, str]
    secret: Secret

    @cached_property
    def longest(self) -> str:
        return max(self.names, key=len)


async def test_a_context_that_remembers_more_than_its_fields_comes_back_as_it_was(store: MemoryStore, vault: Vault) -> None:
    context = Cached(("a", "bbb"), {1: "one"}, Secret("very-secret"))
    assert context.longest == "bbb"
    workflow = toy(Ledger(), context=Cached, initial_context=lambda run_id, number, settings: context)
    codec: Codec[Any] = Codec(workflow, vault)
    checkpoint = codec.encode(admit(workflow, "261123-000000", 0, context, 1.0), history=1)
    assert b"longest" not in checkpoint.body
    assert b"very-secret" not in checkpoint.body
    assert codec.decode(checkpoint, {}).context == context
