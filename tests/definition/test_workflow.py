"""A definition is checked when it is built, and the message names the culprit."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest

from orchestrator import Back, DefinitionError, Outcome, Repeat, State, Step, done
from orchestrator.definition.diagram import dot, mermaid
from states.token_fulfillment import WORKFLOW
from tests.support.toy import Ledger, Making, One, Three, ToyContext, Two, toy


def state(name: str, table: dict[str, Any], **more: Any) -> State[ToyContext, Ledger]:
    """A state that only has a place in the table."""
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
    "a name of the engine's": ([state("failed", {"done": "completed"})], "the name 'failed' is a name of the engine's own"),
    "an outcome of the engine's": (
        [state("a", {"done": "completed", "fail": "completed"})],
        "'fail' is a name of the engine's own",
    ),
    "an unbounded way back": ([state("a", {"done": "completed", "odd": "a"})], "without a bound"),
    "a Back that leads ahead": ([state("a", {"done": Back("b", 1)}), state("b", {"done": "completed"})], "'b' lies ahead"),
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
        ("name", "", "the state '' is not named in small letters"),
        ("name", "a b", "the state 'a b' is not named in small letters"),
        ("name", "a.b", "the state 'a.b' is not named in small letters"),
        ("transitions", {"done": "completed", "put_back_one": "completed"}, "'put_back_one' is a name of the engine's own"),
    ],
)
def test_an_attribute_of_the_wrong_kind_is_refused(attribute: str, value: Any, message: str) -> None:
    state = type("Odd", (Making,), {"transitions": {"done": "completed"}, attribute: value})()
    with pytest.raises(DefinitionError, match=re.escape(message)):
        toy(Ledger(), state)


def test_a_state_that_must_look_needs_a_way_to_look() -> None:
    class Blind(State[ToyContext, Ledger]):
        transitions: ClassVar = {"done": "completed"}

        async def run(self, step: Step[ToyContext, Ledger]) -> Outcome[ToyContext]:
            return done(step.context)

    with pytest.raises(DefinitionError, match="'blind' may be repeated only after a look but has no recover handler"):
        toy(Ledger(), Blind())
    Blind.repeat = Repeat.NEVER
    assert toy(Ledger(), Blind()).initial == "blind"


def test_the_class_name_becomes_the_name_of_the_state() -> None:
    class ReadHTTPAnswer(Making):
        transitions: ClassVar = {"done": "completed"}

    assert ReadHTTPAnswer.name == "read_http_answer"


def test_a_move_that_is_no_row_raises() -> None:
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


def test_the_diagrams_hold_every_declared_move() -> None:
    text = mermaid(WORKFLOW)
    for declared in WORKFLOW.states:
        for outcome, to in declared.transitions.items():
            target = to.target if isinstance(to, Back) else to
            line = next(line for line in text.splitlines() if line.strip().startswith(f"{declared.name} --> {target}:"))
            assert outcome in line
            assert f'"{declared.name}" -> "{target}"' in dot(WORKFLOW)
