"""A definition is checked when it is built, and the message names the wrong part."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from orchestrator import (
    AmbiguousError,
    Back,
    DefinitionError,
    Outcome,
    Repeat,
    RetryPolicy,
    Secret,
    State,
    Status,
    Step,
    Vault,
    done,
    open_store,
    start,
)
from orchestrator import state as state_from_function
from orchestrator.definition.diagram import ANY_STATE, arrows, dot, mermaid
from states.token_fulfillment import WORKFLOW
from tests.support.toy import Ledger, Making, One, Three, ToyContext, Two, fast, toy


def state(name: str, table: dict[str, Any], **more: Any) -> State[ToyContext, Ledger]:
    """A state that exists only as an entry of the table."""
    outcomes = more.pop("outcomes", frozenset(table))
    return type(name, (Making,), {"name": name, "transitions": table, "outcomes": outcomes, **more})()


REFUSED = {
    "no states": ([], "has no states"),
    "an unknown target": ([state("a", {"done": "nowhere"})], "'a' goes to 'nowhere'"),
    "an unreachable state": (
        [state("a", {"done": "completed"}), state("b", {"done": "completed"})],
        "the state 'b' cannot be reached",
    ),
    "an unreachable end": ([state("a", {"again": Back("a", 1)})], "the end 'completed' cannot be reached"),
    "a state without a way out": (
        [state("a", {"done": "completed", "odd": "b"}), state("b", {"again": Back("b", 1)})],
        "no end can be reached from the state 'b'",
    ),
    "an outcome without a transition": (
        [state("a", {"done": "completed"}, outcomes=frozenset({"done", "odd"}))],
        "'a' may end with 'odd' but has no transition",
    ),
    "a transition for an undeclared outcome": (
        [state("a", {"done": "completed", "odd": "completed"}, outcomes=frozenset({"done"}))],
        "transition for 'odd', an outcome that it does not declare",
    ),
    "a name used twice": ([state("a", {"done": "completed"}), state("a", {"done": "completed"})], "the name 'a' is used twice"),
    "a name of the engine's": ([state("failed", {"done": "completed"})], "the name 'failed' is reserved for the engine"),
    "an outcome of the engine's": (
        [state("a", {"done": "completed", "fail": "completed"})],
        "'fail' is reserved for the engine",
    ),
    "an unbounded way back": ([state("a", {"done": "completed", "odd": "a"})], "without a bound"),
    "a Back that leads ahead": ([state("a", {"done": Back("b", 1)}), state("b", {"done": "completed"})], "'b' is a later state"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_wrong_definition_is_refused_by_name(case: str) -> None:
    states, message = REFUSED[case]
    with pytest.raises(DefinitionError, match="toy") as refused:
        if states:
            toy(Ledger(), *states)
        else:
            toy_without_states()
    assert message in str(refused.value)


def toy_without_states() -> None:
    from orchestrator import Workflow

    base = toy(Ledger())
    Workflow(name="toy", context=ToyContext, states=(), initial_context=base.initial_context, open_services=base.open_services)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("timeout", 5, "timeout is 5, not a timedelta"),
        ("retry", None, "retry is None, not a RetryPolicy"),
        ("rollback_retry", 3, "rollback_retry is 3, not a RetryPolicy"),
        ("repeat", "freely", "repeat is 'freely', not a Repeat"),
        ("name", "", "the name of the state '' must begin with a lower-case letter"),
        ("name", "a b", "the name of the state 'a b' must begin with a lower-case letter"),
        ("name", "a.b", "the name of the state 'a.b' must begin with a lower-case letter"),
        ("transitions", {"done": "completed", "put_back_one": "completed"}, "'put_back_one' is reserved for the engine"),
    ],
)
def test_an_attribute_of_the_wrong_kind_is_refused(attribute: str, value: Any, message: str) -> None:
    state = type("Odd", (Making,), {"transitions": {"done": "completed"}, attribute: value})()
    with pytest.raises(DefinitionError, match=re.escape(message)):
        toy(Ledger(), state)


def test_a_state_that_is_repeated_after_recovery_needs_a_recover_handler() -> None:
    class Blind(State[ToyContext, Ledger]):
        transitions: ClassVar = {"done": "completed"}

        async def run(self, step: Step[ToyContext, Ledger]) -> Outcome[ToyContext]:
            return done(step.context)

    with pytest.raises(DefinitionError, match="'blind' may be repeated only after recovery but has no recover handler"):
        toy(Ledger(), Blind())
    Blind.repeat = Repeat.NEVER
    assert toy(Ledger(), Blind()).initial == "blind"


def test_the_class_name_becomes_the_name_of_the_state() -> None:
    class ReadHTTPAnswer(Making):
        transitions: ClassVar = {"done": "completed"}

    assert ReadHTTPAnswer.name == "read_http_answer"


def test_a_move_without_a_row_raises() -> None:
    from transitions import MachineError

    machine = toy(Ledger()).machine
    assert machine.fire("one", "done") == "two"
    assert machine.fire("completed", "roll_back") == "rolling_back"
    with pytest.raises(MachineError):
        machine.fire("one", "back")
    with pytest.raises(MachineError):
        machine.fire("rolled_back", "roll_back")
    with pytest.raises(MachineError):
        machine.fire("one", "no such move")


def test_the_fingerprint_follows_the_definition() -> None:
    class Changed(One):
        name = "one"
        version = 2

    base = toy(Ledger())
    assert toy(Ledger()).definition == base.definition
    changed = toy(Ledger(), Changed(), Two(), Three())
    assert changed.definition != base.definition
    assert {name for name in base.fingerprints if base.fingerprints[name] != changed.fingerprints[name]} == {"one"}


def test_states_that_differ_in_data_are_two_definitions() -> None:
    @attrs.define
    class Creating(One):
        name = "one"
        kind: str
        limits: dict[str, int] = attrs.field(factory=dict)
        retry: RetryPolicy = One.retry

    def built(*args: Any, **more: Any) -> str:
        return toy(Ledger(), Creating(*args, **more), Two(), Three()).definition

    first = built("application", limits={"most": 3})
    assert built("application", limits={"most": 3}) == first
    assert built("resource", limits={"most": 3}) != first
    assert built("application", limits={"most": 4}) != first
    assert built("application", limits={"most": "3"}) != first
    # The tuning of a state is not part of its definition: an instance may continue under other tuning.
    assert built("application", limits={"most": 3}, retry=RetryPolicy(attempts=9)) == first


def test_the_fingerprint_of_a_states_data_is_the_same_in_every_process() -> None:
    script = (
        "from tests.definition.test_workflow import held; from orchestrator.definition.fingerprint import digest, _plain;"
        "print(digest(_plain(held(), ())))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def held() -> dict[str, Any]:
    """Data of many types, with a loop and a secret."""
    data: dict[str, Any] = {
        "set": {"a", "b", "c"},
        "type": One,
        "partial": partial(held),
        "secret": Secret("hidden"),
        "policy": RetryPolicy(),
        "path": Path("a/b"),
        "nothing": None,
        "bytes": b"1",
    }
    data["itself"] = data
    return data


def test_a_function_is_a_state_that_may_be_repeated_freely() -> None:
    @state_from_function(transitions={"done": "completed", "odd": Back("one", at_most=2)}, version=3)
    async def weigh(step: Step[ToyContext, Ledger]) -> Outcome[ToyContext]:
        """Weigh it."""
        return done(step.context)

    assert (weigh.name, weigh.version, weigh.repeat) == ("weigh", 3, Repeat.FREELY)
    assert weigh.outcomes == {"done", "odd"}
    assert not weigh.can_recover
    assert not weigh.can_roll_back
    assert weigh.__doc__ == "Weigh it."
    first = type("First", (Making,), {"name": "one", "transitions": {"done": "weigh"}})()
    workflow = toy(Ledger(), first, weigh)
    assert workflow.machine.fire("weigh", "odd") == "one"


def test_a_function_state_is_checked_like_a_class() -> None:
    @state_from_function(transitions={"done": "nowhere"})
    async def weigh(step: Step[ToyContext, Ledger]) -> Outcome[ToyContext]:
        return done(step.context)

    with pytest.raises(DefinitionError, match="'weigh' goes to 'nowhere'"):
        toy(Ledger(), weigh)


def test_a_function_that_is_not_async_is_refused() -> None:
    def weigh(step: Any) -> Any:
        return done(step.context)

    with pytest.raises(TypeError, match=r"@state needs an async function, not <function .*weigh"):
        state_from_function(transitions={"done": "completed"})(weigh)


async def test_a_function_state_is_driven(vault: Vault) -> None:
    @state_from_function(transitions={"done": "completed"}, name="count")
    async def count_things(step: Step[ToyContext, Ledger]) -> Outcome[ToyContext]:
        if step.attempt == 1:
            raise AmbiguousError("no answer")
        return done(attrs.evolve(step.context, rounds=len(step.services.existing)))

    first = type("First", (Making,), {"name": "one", "transitions": {"done": "count"}})()
    async with open_store("memory:") as store, start(toy(Ledger(), first, count_things), store=store, options=fast(vault)) as run:
        result = await run.wait()
        instance = await run.instance(0)
    assert result.counts == {Status.COMPLETED: 1}
    assert instance.context.rounds == 1


def test_the_diagrams_hold_every_row_of_the_machine() -> None:
    text, graph = mermaid(WORKFLOW), dot(WORKFLOW)
    found = {(arrow.source, arrow.target): arrow.labels for arrow in arrows(WORKFLOW.machine)}
    for move in WORKFLOW.machine:
        source, target = move.source, move.target
        if move.by_engine:
            source, target = (ANY_STATE if name in WORKFLOW.machine.states else name for name in (source, target))
        else:
            assert move.trigger in found[source, target]
        labels = ", ".join(found[source, target])
        assert f"    {source} --> {target}: {labels}" in text.splitlines()
        assert f'"{source}" -> "{target}" [label=" {labels} "' in graph
    assert {"retry"} == set(found[ANY_STATE, ANY_STATE])
    assert found["rolling_back", "completed"] == ("finish",)
