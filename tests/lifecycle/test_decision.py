"""The decision about the next step, as a table and as properties."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    TERMINAL,
    AmbiguousError,
    ExpiredError,
    Instance,
    OnFailure,
    Outcome,
    PermanentError,
    Recovery,
    RetryPolicy,
    Secret,
    Status,
    TransientError,
    done,
)
from orchestrator.lifecycle import moves
from orchestrator.lifecycle.decision import Failed, Keep, Leave, Retry, RollBack, RunNow, Undone, decide, decide_rollback
from orchestrator.lifecycle.effects import effects_of
from orchestrator.lifecycle.instance import Failure, Leftover
from orchestrator.secret import secrets_in
from tests.support.toy import Ledger, Making, Reading, ToyContext, toy

NOW = 1_000_000.0


class Once(Making):
    name = "once"
    transitions = {"done": "completed"}
    repeat = Making.repeat.NEVER


def standing(workflow: Any, **more: Any) -> Instance[ToyContext]:
    return attrs.evolve(moves.admit(workflow, "261123-000000", 0, ToyContext(), NOW), **more)


def decision(result: Any, *, state: Any = None, on_failure: OnFailure = OnFailure.ROLLBACK, **more: Any) -> Any:
    workflow = toy(Ledger(), *([state] if state else []))
    return decide(
        workflow, standing(workflow, **more), result, on_failure=on_failure, another_round=False, spent=0.0, rng=Random(1)
    )


def test_an_outcome_advances() -> None:
    assert decision(done(ToyContext())) == done(ToyContext())


def test_an_expired_error_takes_the_outcome_that_it_names() -> None:
    found = decision(Failed(ExpiredError("x", outcome="back")), position="two")
    assert isinstance(found, Outcome)
    assert found.name == "back"


def test_a_transient_failure_is_retried_without_a_look() -> None:
    found = decision(Failed(TransientError("x")))
    assert isinstance(found, Retry)
    assert not found.doubt


def test_an_ambiguous_failure_is_retried_after_a_look() -> None:
    assert decision(Failed(AmbiguousError("x"))).doubt
    assert decision(Recovery.UNKNOWN, doubt=True).doubt


def test_doubt_stays_until_a_look_has_cleared_it() -> None:
    assert decision(Failed(TransientError("429 to the look")), doubt=True).doubt
    assert isinstance(decision(Recovery.NOT_FOUND, doubt=True), RunNow)


def test_a_state_that_may_be_repeated_freely_is_never_in_doubt() -> None:
    assert not decision(Failed(AmbiguousError("x")), state=Reading()).doubt


def test_a_state_that_may_never_be_repeated_is_given_up_in_doubt() -> None:
    assert isinstance(decision(Failed(AmbiguousError("x")), state=Once()), RollBack)
    assert isinstance(decision(Failed(TransientError("x")), state=Once()), Retry)


@pytest.mark.parametrize("error", [PermanentError("x"), AmbiguousError("x"), TransientError("x")])
@pytest.mark.parametrize(("policy", "expected"), [(OnFailure.ROLLBACK, RollBack), (OnFailure.KEEP, Keep)])
def test_a_final_failure_is_rolled_back_or_kept_by_policy(error: Exception, policy: OnFailure, expected: type) -> None:
    assert isinstance(decision(Failed(error), on_failure=policy, failures=2), expected)


@pytest.mark.parametrize("policy", OnFailure)
@pytest.mark.parametrize("error", [AmbiguousError("the last attempt allowed"), KeyError("in the answer")])
def test_a_state_given_up_after_a_lost_answer_may_have_run(error: Exception, policy: OnFailure) -> None:
    """The response of the last attempt may be lost as well: its state was never retried, so its effect was never unknown."""
    workflow = toy(Ledger())
    there = standing(workflow, failures=2)
    given_up = _step(workflow, there, Failed(error, "trace"), policy, Random(1))
    assert given_up.status in {Status.ROLLING_BACK, Status.FAILED}
    assert given_up.may_have_run == (there.position,)
    refused = _step(workflow, there, Failed(PermanentError("x")), policy, Random(1))
    assert refused.may_have_run == ()


def test_a_bug_keeps_the_instance_with_its_trace() -> None:
    found = decision(Failed(KeyError("x"), "the trace"))
    assert isinstance(found, Keep)
    assert found.failure.kind == "bug"
    assert found.failure.trace == "the trace"


@pytest.mark.parametrize("answer", [None, "done", Recovery.NOT_FOUND, Recovery.UNKNOWN])
def test_an_answer_of_run_that_is_none_is_a_bug(answer: Any) -> None:
    assert decision(answer).failure.kind == "bug"


def test_an_undeclared_outcome_is_a_bug() -> None:
    assert isinstance(decision(Outcome("odd", ToyContext())), Keep)
    assert isinstance(decision(Failed(ExpiredError("x", outcome="odd"))), Keep)


def test_a_way_back_is_taken_only_so_often_in_a_row() -> None:
    assert isinstance(decision(Outcome("back", ToyContext()), position="two", backward={"two.back": 1}), Outcome)
    found = decision(Outcome("back", ToyContext()), position="two", backward={"two.back": 2})
    assert isinstance(found, RollBack)
    assert "2 times in a row" in found.failure.message


def test_a_rollback_is_never_in_doubt() -> None:
    workflow = toy(Ledger())
    rolling = moves.roll_back(
        workflow, standing(workflow), NOW, failure=Failure(kind="permanent", message="x", state="one", attempt=1)
    )
    left = moves.suspend(rolling, doubt=True, now=NOW)
    assert (left.status, left.doubt) == (Status.ROLLING_BACK, False)
    assert moves.resume(left, NOW).may_have_run == ()


def test_secrets_are_found_wherever_a_context_may_hold_them() -> None:
    @dataclass
    class Pair:
        secret: Secret
        other: Any = None

    found = secrets_in(ToyContext(made=(Pair(Secret("a"), deque([{"x": [Secret("b")]}])),), secret=Secret("c")))
    assert {secret.reveal() for secret in found} == {"a", "b", "c"}


def test_another_outcome_ends_the_row() -> None:
    workflow = toy(Ledger())
    there = standing(workflow, position="two", backward={"two.back": 2, "two.other": 1, "three.x": 1})
    again = moves.advance(workflow, there, "back", ToyContext(), NOW)
    assert again.backward == {"two.back": 3, "two.other": 1, "three.x": 1}
    assert moves.advance(workflow, there, "done", ToyContext(), NOW).backward == {"three.x": 1}


def test_a_rollback_retries_transient_errors_and_leaves_permanent_ones() -> None:
    workflow = toy(Ledger())
    state, there = workflow.states[0], standing(workflow)
    told = {"spent": 0.0, "rng": Random(1)}
    assert isinstance(decide_rollback(state, there, None, **told), Undone)
    assert isinstance(decide_rollback(state, there, Failed(AmbiguousError("x")), **told), Retry)
    assert isinstance(decide_rollback(state, there, Failed(PermanentError("x")), **told), Leave)
    assert isinstance(decide_rollback(state, there, Failed(KeyError("x"), "trace"), **told), Leave)
    tired = attrs.evolve(there, failures=2)
    assert isinstance(decide_rollback(state, tired, Failed(TransientError("x")), **told), Leave)


@given(failures=st.integers(1, 10_000), multiplier=st.floats(1, 1000), seed=st.integers())
def test_a_delay_lies_between_nothing_and_the_ceiling(failures: int, multiplier: float, seed: int) -> None:
    policy = RetryPolicy(initial_delay=timedelta(seconds=1), max_delay=timedelta(seconds=7), multiplier=multiplier)
    delay = policy.delay(failures, Random(seed)).total_seconds()
    assert 0 <= delay <= min(7, multiplier ** min(failures - 1, 50))


@given(retry_after=st.floats(allow_nan=False), failures=st.integers(1, 20))
def test_retry_after_is_believed_within_bounds(retry_after: float, failures: int) -> None:
    policy = RetryPolicy(attempts=6, initial_delay=timedelta(seconds=1), max_retry_after=timedelta(seconds=30))
    error = TransientError("x", retry_after=retry_after)
    wait = policy.next_wait(error, failures=failures, spent=0.0, rng=Random(1))
    if failures >= 6:
        assert wait is None
    else:
        assert wait is not None
        assert min(max(retry_after, 0), 30) <= wait <= 31
        assert wait <= policy.longest_wait.total_seconds()


def test_no_attempt_starts_after_the_deadline() -> None:
    policy = RetryPolicy(deadline=timedelta(seconds=10))
    error = TransientError("x", retry_after=8)
    assert policy.next_wait(error, failures=1, spent=0.0, rng=Random(1)) is not None
    assert policy.next_wait(error, failures=1, spent=5.0, rng=Random(1)) is None


RESULTS = st.sampled_from(
    [
        done(ToyContext()),
        Outcome("back", ToyContext()),
        Failed(TransientError("t")),
        Failed(AmbiguousError("a")),
        Failed(PermanentError("p")),
        Failed(KeyError("bug"), "trace"),
        Recovery.NOT_FOUND,
        Recovery.UNKNOWN,
    ]
)


@given(results=st.lists(RESULTS, min_size=1, max_size=60), policy=st.sampled_from(OnFailure), seed=st.integers(0, 10))
def test_no_sequence_of_results_leaves_a_terminal_status_or_forgets_an_effect(
    results: list[Any], policy: OnFailure, seed: int
) -> None:
    """A model of the driver over the pure functions: with any results of handlers, every instance reaches a legal status."""
    workflow, rng = toy(Ledger()), Random(seed)
    instance = standing(workflow)
    entered = {instance.position}
    for result in results:
        before = instance
        if instance.status in TERMINAL:
            break
        if instance.status is Status.ROLLING_BACK:
            instance = _step_back(workflow, instance, result, rng)
        else:
            instance = _step(workflow, instance, result, policy, rng)
        entered.add(instance.position)
        if before.status is Status.RUNNING and instance.status is not Status.RUNNING:
            # Every state that was entered is on the trail when the rollback begins, or the instance ends.
            assert set(instance.trail) == entered & set(workflow.state_named)
            if isinstance(result, Failed) and isinstance(result.error, AmbiguousError | KeyError):
                assert before.position in instance.may_have_run
        assert len(instance.trail) == len(set(instance.trail))
    if instance.status is Status.ROLLED_BACK:
        assert instance.trail == ()
        assert instance.leftovers == ()


def _step(workflow: Any, instance: Any, result: Any, policy: OnFailure, rng: Random) -> Any:
    if isinstance(result, Recovery) and not instance.doubt:
        return instance
    match decide(workflow, instance, result, on_failure=policy, another_round=False, spent=0.0, rng=rng):
        case Outcome(outcome, context):
            return moves.advance(workflow, instance, outcome, context, NOW)
        case RunNow():
            return attrs.evolve(instance, doubt=False)
        case Retry(failure, doubt, wait):
            return moves.retry(workflow, instance, failure, doubt=doubt, wait=wait, now=NOW)
        case RollBack(failure, doubt):
            return moves.roll_back(workflow, instance, NOW, failure=failure, doubt=doubt)
        case Keep(failure, doubt):
            return moves.keep(workflow, instance, failure, NOW, doubt=doubt)


def _step_back(workflow: Any, instance: Any, result: Any, rng: Random) -> Any:
    if not instance.trail:
        return moves.finish(workflow, instance, NOW)
    state = workflow.state_named[instance.trail[-1]]
    match decide_rollback(state, instance, result if isinstance(result, Failed) else None, spent=0.0, rng=rng):
        case Undone():
            return moves.undone(workflow, instance, NOW)
        case Retry(failure, doubt, wait):
            return moves.retry(workflow, instance, failure, doubt=doubt, wait=wait, now=NOW)
        case Leave(failure):
            effect = dict(effects_of(workflow, instance))[state.name]
            return moves.undone(
                workflow, instance, NOW, leftover=Leftover(state=state.name, effect=effect, error=failure.message)
            )
