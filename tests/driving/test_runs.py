"""Runs of a toy workflow: retry, recovery, rollback, suspension, resumption, and the promises of the embedding API."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import quote_plus

import anyio
import attrs
import pytest

from orchestrator import (
    AmbiguousError,
    CheckpointError,
    ConfigurationError,
    DefinitionError,
    Event,
    EventKind,
    LeaseExpiredError,
    LeaseHeldError,
    OnFailure,
    Outcome,
    PermanentError,
    Recovery,
    Redactor,
    Repeat,
    RunStatus,
    Scenario,
    Secret,
    ServicesError,
    StaleEpochError,
    Status,
    Store,
    StoreError,
    ThrottledError,
    TransientError,
    UnknownRunError,
    Vault,
    Workflow,
    WorkflowChangedError,
    cleanup,
    done,
    open_store,
    record_exchange,
    resume,
    retry,
    start,
)
from orchestrator.lifecycle.instance import admit
from orchestrator.storage.checkpoint import Codec
from orchestrator.storage.encryption import find_key, new_key
from orchestrator.storage.lease import Owner
from orchestrator.storage.memory import MemoryStore
from tests.support.clock import SPEED, FastClock
from tests.support.toy import Ledger, Making, One, Reading, Three, ToyContext, Two, fast, toy

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def finish(workflow: Workflow[Any, Any], store: Store, vault: Vault, **more: Any) -> Any:
    """Run one instance to its end. Returns the instance, and the run's result."""
    options = more.pop("options", fast(vault))
    async with start(workflow, store=store, options=options, **more) as run:
        result = await run.wait()
        return await run.instance(0), result


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
        await anyio.sleep(60)

    ledger = Ledger(script={"run one": [hang]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED
    assert ledger.calls[:3] == ["run one", "recover one", "run one"]


async def test_unknown_is_not_a_place_to_stay(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [AmbiguousError("lost")], "recover two": [Recovery.UNKNOWN] * 9})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert ledger.calls.count("recover two") == 2


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


async def test_what_begins_is_a_context_of_the_workflow(store: MemoryStore, vault: Vault) -> None:
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


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("x")])
async def test_an_exception_that_leaves_the_block_is_raised_itself(
    store: MemoryStore, vault: Vault, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised:
        async with start(toy(Ledger()), store=store, options=fast(vault)):
            raise error
    assert raised.value is error


class Once(Making):
    """May not be repeated."""

    transitions = {"done": "completed"}
    repeat = Repeat.NEVER


async def test_an_effect_that_may_never_be_repeated_is_given_up_without_another_attempt(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    async with start(toy(ledger, Once()), store=store, options=fast(vault)) as run:

        async def cancelled(step: Any) -> None:
            run.cancel()
            await anyio.sleep(60)

        ledger.script = {"run once": [cancelled]}
        await run.wait()
    async with resume(toy(ledger, Once()), run.id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert result.counts == {Status.ROLLED_BACK: 1}
    assert ledger.calls == ["run once", "rollback once"]
    told = next(event for event in await store.events(run.id, 0) if event.kind is EventKind.ROLLING_BACK)
    assert (told.failure, told.handler, told.attempt, told.duration_s) == ("ambiguous", None, None, None)


async def test_two_consumers_of_one_stream_both_end(store: MemoryStore, vault: Vault) -> None:
    seen: list[Event] = []

    async def consume(stream: Any) -> None:
        seen.extend([event async for event in stream])

    async with start(toy(Ledger()), store=store, options=fast(vault)) as run:
        stream = run.events()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(consume, stream)
                tasks.start_soon(consume, stream)
    assert EventKind.ENDED in {event.kind for event in seen}


async def test_a_bug_keeps_the_instance_and_shows_its_trace_without_secrets(store: MemoryStore, vault: Vault) -> None:
    def bug(step: Any) -> None:
        raise ValueError(f"cannot parse {step.context.secret.reveal()}")

    ledger = Ledger(script={"run two": [bug]})
    instance, result = await finish(toy(ledger), store, vault)
    assert instance.status is Status.FAILED
    assert instance.failure.kind == "bug"
    assert "ValueError" in instance.failure.trace
    assert "toy-secret-value" not in instance.failure.trace + instance.failure.message
    assert all("toy-secret-value" not in str(event) for event in await store.events(result.run_id, 0))
    assert ledger.existing == ["one:0"]


async def test_secrets_are_sealed_in_the_checkpoint(store: MemoryStore, vault: Vault) -> None:
    instance, result = await finish(toy(Ledger()), store, vault)
    body = (await store.load(result.run_id))[0].body
    assert b"toy-secret-value" not in body
    assert instance.context.secret == Secret("toy-secret-value")
    assert "toy-secret-value" not in repr(instance)


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
        await anyio.sleep(0.001)
        now -= 1

    ledger = Ledger(script={f"run {name}": [count] * 20 for name in ("one", "two", "three")})
    await finish(toy(ledger), store, vault, instances=20, concurrency=5)
    assert most == 5


async def test_a_rate_spaces_the_attempts_of_its_group(store: MemoryStore, vault: Vault) -> None:
    class Limited(Reading):
        name = "limited"
        rate_group = "slow"

    at: list[float] = []
    ledger = Ledger(script={"run limited": [lambda step: at.append(step.clock.steady())] * 5})
    await finish(toy(ledger, Limited()), store, vault, instances=5, concurrency=5, rates={"slow": 1.0})
    # Timers of the event loop are slightly early or late.
    assert at[-1] - at[0] >= 4 / SPEED * 0.9


async def test_stop_lets_the_attempt_finish_and_suspends_without_doubt(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    async with start(toy(ledger), store=store, instances=3, options=fast(vault)) as run:

        async def stop(step: Any) -> None:
            run.stop()
            await anyio.sleep(0.01)

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
            await anyio.sleep(60)

        ledger.script = {"run two": [cancelled_after_acting]}
        await run.wait()
        instance = await run.instance(0)
    assert (instance.status, instance.position, instance.doubt) == (Status.SUSPENDED, "two", True)
    async with resume(toy(ledger), run.id, store=store, options=fast(vault)) as again:
        await again.wait()
    assert ledger.calls == ["run one", "run two", "recover two", "run three"]
    assert ledger.existing == ["one:0", "two:0", "three:0"]


async def test_a_retry_wait_survives_an_interruption(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [TransientError("wait", retry_after=40)]})
    async with start(toy(ledger), store=store, options=fast(vault)) as run:
        async for event in run.events():
            if event.kind is EventKind.RETRY:
                run.stop()
        waiting = await run.instance(0)
    assert waiting.status is Status.SUSPENDED
    assert waiting.failures == 1
    assert waiting.not_before is not None
    async with resume(toy(ledger), run.id, store=store, options=fast(vault)) as again:
        await again.wait()
        events = await store.events(run.id, 0)
    assert [event.attempt for event in events if event.state == "two" and event.kind is EventKind.MOVED] == [2]
    assert "recover two" not in ledger.calls


@attrs.define
class Wall(FastClock):
    """A clock whose wall time the test sets."""

    ahead_s: float = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s


@pytest.mark.parametrize("seconds", [-7200, 600], ids=["back", "forward"])
async def test_a_wall_clock_that_is_set_changes_no_wait_and_no_deadline(store: MemoryStore, vault: Vault, seconds: float) -> None:
    clock = Wall()

    def set_clock(step: Any) -> None:
        clock.ahead_s += seconds

    def set_clock_and_fail(step: Any) -> None:
        clock.ahead_s += seconds
        raise TransientError("busy")

    ledger = Ledger(script={"run one": [set_clock_and_fail], "run two": [AmbiguousError("lost")], "recover two": [set_clock]})
    options = attrs.evolve(fast(vault), clock=clock)
    with anyio.fail_after(20):
        instance, _ = await finish(toy(ledger), store, vault, options=options)
    assert instance.status is Status.COMPLETED
    assert ledger.calls == ["run one", "run one", "run two", "recover two", "run two", "run three"]


async def test_a_look_that_finds_nothing_ends_the_wait_before_it(store: MemoryStore, vault: Vault) -> None:
    seen: list[float | None] = []

    async def look(step: Any) -> None:
        seen.append((await store.load(step.run_id))[0].not_before)

    ledger = Ledger(script={"run two": [AmbiguousError("lost"), look]})
    await finish(toy(ledger), store, vault)
    assert seen == [None]


async def test_a_stored_pause_is_never_waited_for_longer_than_the_policy_allows(store: MemoryStore, vault: Vault) -> None:
    clock = Wall()
    ledger = Ledger(script={"run two": [TransientError("wait", retry_after=40)]})
    async with start(toy(ledger), store=store, options=attrs.evolve(fast(vault), clock=clock)) as run:
        async for event in run.events():
            if event.kind is EventKind.RETRY:
                run.stop()
    clock.ahead_s = -7200
    with anyio.fail_after(30):  # the longest wait of the policy is a minute: two seconds by this clock
        async with resume(toy(ledger), run.id, store=store, options=attrs.evolve(fast(vault), clock=clock)) as again:
            assert (await again.wait()).counts == {Status.COMPLETED: 1}


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_pause_of_a_rate_group_survives_a_restart(vault: Vault, tmp_path: Any, kind: str) -> None:
    begun: list[float] = []
    clock = FastClock()

    class Limited(One):
        name = "one"
        rate_group = "configuration"

    def throttled(step: Any) -> None:
        run.stop()
        raise ThrottledError("too many", retry_after=30)

    def note(step: Any) -> None:
        begun.append(clock.steady())

    ledger = Ledger(script={"run one": [throttled, note, note, note]})
    workflow, options = toy(ledger, Limited(), Two(), Three()), attrs.evolve(fast(vault), clock=clock)
    url = "memory:" if kind == "memory" else str(tmp_path / "runs.db")
    async with open_store(url) as store:
        async with start(workflow, store=store, instances=3, options=options) as run:
            refused = clock.steady()
            await run.wait()
        async with resume(workflow, run.id, store=store, options=options) as again:
            assert (await again.wait()).counts == {Status.COMPLETED: 3}
    assert len(begun) == 3
    assert min(begun) - refused >= 29  # the stored moment is a wall-clock time


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
    runs = await store.runs()
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
    run_id = (await store.runs())[0].id
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as run:
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 1}
    assert ledger.existing == ["one:0", "two:0", "three:0"]


class Late:
    """The store's clock after our lease has expired."""

    def now(self) -> float:
        return time.time() + 3600


async def test_a_run_that_is_taken_over_stops_and_writes_nothing_more(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()

    async def take_over(step: Any) -> None:
        store._clock = Late()
        await store.claim(step.run_id, 0, Owner(host="elsewhere", boot_id="", pid=1, started=""), 1000)

    ledger.script = {"run two": [take_over]}
    with pytest.raises(StaleEpochError, match="taken over"):
        await finish(toy(ledger), store, vault)
    run_id = (await store.runs())[0].id
    assert (await store.load(run_id))[0].position == "two"
    with pytest.raises(LeaseHeldError, match="process 1 on elsewhere"):
        async with resume(toy(ledger), run_id, store=store, options=fast(vault)):
            pass


async def test_a_lease_that_ran_out_stops_before_the_next_attempt(vault: Vault) -> None:
    class Unreachable(MemoryStore):
        async def renew(self, *args: Any, **more: Any) -> Any:
            raise StoreError("unreachable")

    ledger = Ledger(script={"run one": [lambda step: anyio.sleep(0.2)]})
    with pytest.raises(LeaseExpiredError, match="expired"):
        await finish(toy(ledger), Unreachable(), vault, options=fast(vault, lease_s=0.1 * SPEED))
    assert ledger.calls == ["run one"]


async def test_services_get_a_guard_that_stops_requests_of_a_late_process(vault: Vault) -> None:
    ledger = Ledger()
    raised = []

    async def wait_and_ask(step: Any) -> None:
        await anyio.sleep(0.2)
        assert ledger.opening is not None
        try:
            ledger.opening.check_lease()
        except LeaseExpiredError as error:
            raised.append(error)
            raise

    class Unreachable(MemoryStore):
        async def renew(self, *args: Any, **more: Any) -> Any:
            await anyio.sleep(60)

    ledger.script = {"run one": [wait_and_ask]}
    with pytest.raises(LeaseExpiredError):
        await finish(toy(ledger), Unreachable(), vault, options=fast(vault, lease_s=0.1 * SPEED))
    assert raised


async def test_services_that_do_not_open_leave_no_run_behind(store: MemoryStore, vault: Vault) -> None:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def refuse(settings: object, opening: object) -> Any:
        raise ServicesError("wrong credentials")
        yield

    workflow = attrs.evolve(toy(Ledger()), open_services=refuse)
    with pytest.raises(ServicesError, match="wrong credentials"):
        await finish(workflow, store, vault)
    assert await store.runs() == []


async def test_a_wrong_key_is_refused_before_anything_happens(store: MemoryStore, vault: Vault) -> None:
    from orchestrator import EncryptionKeyError

    ledger = Ledger(script={"run two": [PermanentError("no")]})
    _, result = await finish(toy(ledger), store, vault, on_failure="keep")
    other = find_key({"ORCHESTRATOR_KEY": new_key()}, None)  # type: ignore[arg-type]
    with pytest.raises(EncryptionKeyError, match="ORCHESTRATOR_KEY"):
        async with cleanup(toy(ledger), result.run_id, store=store, options=fast(other)):
            pass
    assert ledger.existing == ["one:0"]


async def interrupted(store: MemoryStore, ledger: Ledger, vault: Vault, **more: Any) -> str:
    """A run that was stopped in state three."""
    async with start(toy(ledger, **more), store=store, options=fast(vault)) as run:
        ledger.script["run two"] = [lambda step: run.stop()]
        await run.wait()
        return run.id


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


async def test_slow_services_do_not_cost_the_lease(store: MemoryStore, vault: Vault) -> None:
    from contextlib import asynccontextmanager

    closed: list[bool] = []

    @asynccontextmanager
    async def slow(settings: object, opening: object) -> Any:
        await anyio.sleep(0.15)
        yield ledger
        await anyio.sleep(0.15)
        run = (await store.runs())[0]
        closed.append((await store.shards(run.id))[0].owner is not None)

    ledger = Ledger(script={"run two": [PermanentError("no")]})
    workflow = attrs.evolve(toy(ledger), open_services=slow)
    options = fast(vault, lease_s=0.1 * SPEED)
    _, result = await finish(workflow, store, vault, on_failure="keep", options=options)
    async with cleanup(workflow, result.run_id, store=store, options=options) as run:
        assert (await run.wait()).status is RunStatus.FINISHED
    assert closed == [True, True], "the lease was given up before the services were closed"


async def test_a_handler_that_waits_for_something_cancelled_is_only_in_doubt(store: MemoryStore, vault: Vault) -> None:
    async def wait_for_cancelled(step: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    ledger = Ledger(script={"run one": [wait_for_cancelled]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED
    assert ledger.calls[:3] == ["run one", "recover one", "run one"]


async def test_what_a_handlers_own_task_group_raises_counts_as_it_is(store: MemoryStore, vault: Vault) -> None:
    async def fail_in_a_group(step: Any) -> None:
        async with anyio.create_task_group():
            raise TransientError("busy")

    ledger = Ledger(script={"run one": [fail_in_a_group]})
    instance, _ = await finish(toy(ledger), store, vault)
    assert instance.status is Status.COMPLETED


async def test_a_secret_in_a_step_error_is_masked(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run one": [PermanentError("refused toy-secret-value")]})
    instance, result = await finish(toy(ledger), store, vault)
    assert instance.failure.message == "refused ********"
    assert all("toy-secret" not in str(event) for event in await store.events(result.run_id, 0))


async def test_text_from_outside_is_masked_in_message_and_code_made_visible_and_cut(store: MemoryStore, vault: Vault) -> None:
    said = "\x1b[2J" + quote_plus("toy-secret-value") + "\u202e" + "x" * 9000
    ledger = Ledger(script={"run one": [PermanentError(said, code="toy%2Dsecret-value\x07" + "y" * 9000)]})
    instance, result = await finish(toy(ledger), store, vault)
    assert instance.failure.message.startswith("␛[2J********\\u202exxx")
    assert instance.failure.code.startswith("********␇yyy")
    assert (len(instance.failure.message), len(instance.failure.code)) == (2001, 101)
    assert all("secret-value" not in str(event) for event in await store.events(result.run_id, 0))


async def test_what_a_handler_sent_is_masked_in_its_errors_and_its_bugs(store: MemoryStore, vault: Vault) -> None:
    class Sent:
        def secrets(self) -> list[Secret]:
            return [Secret("a-bearer-token")]

        def entry(self, secrets: Redactor) -> dict[str, str]:
            return {"said": secrets.redact("a%2Dbearer-token")}

    def bug(step: Any) -> None:
        record_exchange(Sent())
        raise ValueError("cannot parse 'a-bearer-token\x1b'")

    def refused(step: Any) -> None:
        record_exchange(Sent())
        raise PermanentError("a+bearer-token is refused", code="a-bearer-token")

    for fails in (bug, refused):
        instance, result = await finish(toy(Ledger(script={"run two": [fails]})), store, vault)
        failure = instance.failure or [event for event in await store.events(result.run_id, 0) if event.error][-1]
        assert "bearer" not in str(failure)
        assert "\x1b" not in str(failure)
        (body,) = await store.evidence(result.run_id, 0)
        assert b"bearer" not in vault.open(body, f"{result.run_id}-0 evidence".encode())


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


async def test_resuming_under_another_workflow_is_refused(store: MemoryStore, vault: Vault) -> None:
    from orchestrator import ConfigurationError

    _, result = await finish(toy(Ledger()), store, vault)
    other = attrs.evolve(toy(Ledger()), name="another")
    with pytest.raises(ConfigurationError, match="'toy', not of 'another'"):
        async with resume(other, result.run_id, store=store, options=fast(vault)):
            pass


async def test_a_rate_that_is_none_is_refused_before_anything_is_stored(store: MemoryStore, vault: Vault) -> None:
    from orchestrator import SettingError

    for rate in (0.0, float("inf"), float("nan")):
        with pytest.raises(SettingError, match="rates"):
            await finish(toy(Ledger()), store, vault, rates={"slow": rate})
    assert await store.runs() == []


async def test_events_can_be_iterated_and_end_with_the_run(store: MemoryStore, vault: Vault) -> None:
    async with start(toy(Ledger()), store=store, options=fast(vault)) as run:
        events = [event async for event in run.events()]
    assert [event.outcome for event in events if event.kind is EventKind.MOVED] == ["done"] * 3
    assert events[-1].kind is EventKind.ENDED


async def test_a_slow_consumer_misses_the_oldest_and_is_told_how_many() -> None:
    from orchestrator import EventStream

    stream = EventStream(capacity=3)
    for number in range(5):
        stream(Event(run_id="r", number=number, kind=EventKind.MOVED, at=0.0, state="one"))
    stream.close()
    assert [event.number async for event in stream] == [2, 3, 4]
    assert stream.missed == 2


async def test_leaving_the_block_waits_and_leaving_it_with_an_exception_suspends(store: MemoryStore, vault: Vault) -> None:
    async with start(toy(Ledger()), store=store, options=fast(vault)):
        pass
    assert (await store.runs())[0].status is RunStatus.FINISHED

    ledger = Ledger(script={"run two": [lambda step: anyio.sleep(60)]})
    with pytest.raises(LookupError, match="the body's own"):
        async with start(toy(ledger), store=store, options=fast(vault)) as run:
            while "run two" not in ledger.calls:
                await anyio.sleep(0)
            raise LookupError("the body's own")
    assert (await store.run(run.id)).status is RunStatus.INTERRUPTED


async def test_a_run_that_is_not_there_is_named(store: MemoryStore, vault: Vault) -> None:
    with pytest.raises(UnknownRunError, match="261123-zzzzzz"):
        async with resume(toy(Ledger()), "261123-zzzzzz", store=store, options=fast(vault)):
            pass


async def test_cleanup_of_an_interrupted_run_removes_effects_of_requests_in_flight(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    async with start(toy(ledger), store=store, instances=3, options=fast(vault)) as run:

        async def cancelled_after_acting(step: Any) -> None:
            ledger.existing.append("two:0")
            run.cancel()
            await anyio.sleep(60)

        ledger.script = {"run two": [cancelled_after_acting]}
        await run.wait()
    async with cleanup(toy(ledger), run.id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert ledger.existing == []
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.ROLLED_BACK: 1, Status.PENDING: 2}


async def stopped_after(ledger: Ledger, store: Store, vault: Vault, instances: int, total: int) -> str:
    """A run of ``total`` instances that was stopped after this many had completed."""
    async with start(toy(ledger), store=store, instances=total, options=fast(vault)) as run:
        ledger.script = {"run three": [*[None] * (instances - 1), lambda step: run.stop()]}
        result = await run.wait()
    assert result.status is RunStatus.INTERRUPTED
    assert result.counts[Status.PENDING] == total - instances
    return run.id


async def test_an_interrupted_cleanup_is_continued_by_cleanup_and_by_resume(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    run_id = await stopped_after(ledger, store, vault, 3, total=8)
    async with cleanup(toy(ledger), run_id, store=store, options=fast(vault)) as again:

        async def cancelled(step: Any) -> None:
            again.cancel()
            await anyio.sleep(60)

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


async def kept_after(ledger: Ledger, store: Store, vault: Vault, instances: int = 1, **more: Any) -> str:
    """A finished run whose failed instances were kept."""
    options = fast(vault)
    async with start(toy(ledger), store=store, instances=instances, on_failure=OnFailure.KEEP, options=options, **more) as run:
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    ledger.calls.clear()
    return run.id


async def test_a_retry_goes_on_where_it_failed(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [None, PermanentError("not now"), PermanentError("not now")]})
    run_id = await kept_after(ledger, store, vault, instances=4)
    made = list(ledger.existing)
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        result = await again.wait()
        instance = await again.instance(1)
    assert result.counts == {Status.COMPLETED: 4}
    assert (await store.run(run_id)).status is RunStatus.FINISHED
    assert ledger.calls == ["run two", "run three"] * 2
    assert len(ledger.existing) == 12
    assert ledger.existing[: len(made)] == made
    assert (instance.trail, instance.failure, instance.failures) == (("one", "two", "three"), None, 0)
    kinds = [event.kind for event in await store.events(run_id, 1)]
    assert kinds[2:6] == [EventKind.FAILED, EventKind.ENDED, EventKind.PUT_BACK, EventKind.RESUMED]


async def test_a_retry_looks_first_if_the_step_that_failed_may_have_had_its_effect(store: MemoryStore, vault: Vault) -> None:
    def act_and_break(step: Any) -> None:
        ledger.existing.append("two:0")
        raise RuntimeError("a bug")

    ledger = Ledger(script={"run two": [act_and_break]})
    run_id = await kept_after(ledger, store, vault)
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 1}
    assert ledger.calls == ["recover two", "run three"]
    assert ledger.existing == ["one:0", "two:0", "three:0"]


async def test_a_retry_of_one_leaves_the_others(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("not now")] * 3})
    run_id = await kept_after(ledger, store, vault, instances=3)
    async with retry(toy(ledger), run_id, store=store, number=1, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 1, Status.FAILED: 2}
    assert (await again.instance(1)).status is Status.COMPLETED


async def test_a_retry_that_fails_again_is_kept_again_and_counts_its_attempts_from_one(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [TransientError("busy")] * 50})
    run_id = await kept_after(ledger, store, vault)
    ledger.script = {"run two": [TransientError("busy"), PermanentError("still not")]}
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.FAILED: 1}
        instance = await again.instance(0)
    assert instance.failure is not None
    assert (instance.failure.message, instance.failure.attempt) == ("still not", 2)
    async with cleanup(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.ROLLED_BACK: 1}
    assert ledger.existing == []


async def test_a_retry_that_is_interrupted_is_resumed_with_all_that_were_put_back(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("not now")] * 5})
    run_id = await kept_after(ledger, store, vault, instances=5)
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:

        async def cancelled(step: Any) -> None:
            again.cancel()
            await anyio.sleep(60)

        ledger.script = {"run two": [None, cancelled]}
        result = await again.wait()
    assert result.status is RunStatus.RETRYING
    assert result.counts == {Status.COMPLETED: 1, Status.SUSPENDED: 4}
    assert (await store.run(run_id)).status is RunStatus.RETRYING
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.COMPLETED: 5}
    assert sorted(ledger.existing) == sorted(f"{state}:{number}" for state in ("one", "two", "three") for number in range(5))


@pytest.mark.parametrize("number", [None, 3])
async def test_a_retry_that_cannot_put_all_back_puts_none_back(vault: Vault, number: int | None) -> None:
    class Full(MemoryStore):
        async def save_all(self, *args: Any) -> None:
            raise StoreError("the disk is full")

    store, ledger = Full(), Ledger(script={"run two": [PermanentError("not now")] * 5})
    run_id = await kept_after(ledger, store, vault, instances=5)
    with pytest.raises(StoreError, match="the disk is full"):
        async with retry(toy(ledger), run_id, store=store, number=number, options=fast(vault)) as again:
            await again.wait()
    assert again.command == f"retry {run_id}" + ("" if number is None else f"-{number}")
    store.__class__ = MemoryStore  # the quota suffices again
    assert (await store.run(run_id)).status is RunStatus.FINISHED
    async with resume(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.FAILED: 5}
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 5}


async def test_a_retry_that_is_killed_before_it_puts_back_changes_nothing(store: MemoryStore, vault: Vault) -> None:
    class Dead(MemoryStore):
        """Simulates a process killed just before it resets instances: later writes are lost."""

        dead = False

        async def save_all(self, *args: Any) -> None:
            self.dead = True
            raise StoreError("killed")

        async def set_run_status(self, *args: Any) -> None:
            if self.dead:
                raise StoreError("killed")
            await super().set_run_status(*args)

        async def release(self, *args: Any) -> None:
            raise StoreError("killed")

    ledger = Ledger(script={"run two": [PermanentError("not now")] * 3})
    run_id = await kept_after(ledger, store, vault, instances=3)
    store.__class__ = Dead
    with pytest.raises(StoreError, match="killed"):
        async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
            await again.wait()
    store.__class__ = MemoryStore
    assert (await store.run(run_id)).status is RunStatus.FINISHED
    assert await store.counts(run_id) == {(Status.FAILED, "failed"): 3}
    (shard,) = await store.shards(run_id)
    await store.release([shard])
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        assert (await again.wait()).counts == {Status.COMPLETED: 3}


async def test_a_retry_starts_nothing_new_and_is_not_cut_off_by_a_time_that_is_over(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run two": [PermanentError("not now")]})
    scenario = Scenario(duration=0.5, graceful_stop=0.0, rate=10)
    run_id = await kept_after(ledger, store, vault, scenario=scenario)
    before, admitted = await store.statistics(run_id), len(await store.load(run_id))
    assert Status.FAILED in {status for status, _ in await store.counts(run_id)}
    ledger.script.clear()  # on a busy machine the time may end before `two` is called
    async with retry(toy(ledger), run_id, store=store, options=fast(vault)) as again:
        result = await again.wait()
    assert result.of(Status.FAILED) == 0
    assert len(await store.load(run_id)) == admitted
    assert await store.statistics(run_id) == before


async def test_only_failed_instances_of_a_finished_run_are_retried(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    interrupted = await stopped_after(ledger, store, vault, 2, total=4)
    with pytest.raises(ConfigurationError, match=r"not finished; resume it before a retry"):
        async with retry(toy(ledger), interrupted, store=store, options=fast(vault)):
            pass
    finished = await kept_after(ledger, store, vault)
    for number, error, words in (
        (0, ConfigurationError, "is completed"),
        (7, UnknownRunError, f"instance {finished}-7 is not in"),
    ):
        with pytest.raises(error, match=words):
            async with retry(toy(ledger), finished, store=store, number=number, options=fast(vault)):
                pass
    assert (await store.run(interrupted)).status is RunStatus.INTERRUPTED
    assert (await store.run(finished)).status is RunStatus.FINISHED
    assert ledger.calls == []


async def test_sqlite_keeps_the_same_promises(vault: Vault, tmp_path: Any) -> None:
    ledger = Ledger(script={"run three": [PermanentError("no")] * 2})
    async with open_store(f"sqlite:{tmp_path / 'runs.db'}") as store:
        _, result = await finish(toy(ledger), store, vault, instances=20, concurrency=7)
        assert result.counts == {Status.COMPLETED: 18, Status.ROLLED_BACK: 2}
        assert len(await store.events(result.run_id, 19)) >= 5
    assert b"toy-secret-value" not in (tmp_path / "runs.db").read_bytes()


async def test_a_done_outcome_is_what_the_shorthand_says() -> None:
    assert done(ToyContext()) == Outcome("done", ToyContext())


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
