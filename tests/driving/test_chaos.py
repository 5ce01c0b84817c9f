"""With any results of handlers, deaths of processes and commands of the user: nothing is created twice, nothing is
lost, and everything ends. Each case is a seed and repeats exactly."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from random import Random
from typing import Any, ClassVar

import anyio
import attrs
import pytest

from orchestrator import (
    TERMINAL,
    AmbiguousError,
    Back,
    ExpiredError,
    Instance,
    NextRound,
    OnFailure,
    OnSuccess,
    Options,
    Outcome,
    PermanentError,
    Recovery,
    Repeat,
    RetryPolicy,
    Run,
    RunStatus,
    Scenario,
    ServiceContext,
    Shard,
    State,
    Status,
    Step,
    StoreError,
    TransientError,
    Vault,
    Workflow,
    cleanup,
    done,
    resume,
    retry,
    start,
)
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.memory import MemoryStore
from orchestrator.storage.records import Save

INSTANCES = 4
SESSIONS = 10
"""Number of processes that drive the run before faults end."""
LEASE_S = 60_000.0


@attrs.define
class Clock:
    """Waiting for the next attempt takes no time; between two processes the lease expires."""

    ahead_s: float = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_s

    def steady(self) -> float:
        return time.monotonic() * 1000

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds / 1000)

    def deadline(self, seconds: float) -> float:
        return anyio.current_time() + seconds / 1000

    def call_at(self, deadline: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(deadline, callback)


class Mortal(MemoryStore):
    """Discards all that its process stores after its death."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.dead = False
        self.dies_at_a_save = lambda: ""

    async def save(self, save: Save) -> None:
        with self._mortally():
            await super().save(save)

    async def save_all(self, shard: Shard, saves: Sequence[Save], status: RunStatus) -> None:
        with self._mortally():
            await super().save_all(shard, saves, status)

    async def set_run_status(self, shard: Shard, status: RunStatus) -> None:
        self._alive()
        await super().set_run_status(shard, status)

    async def release(self, *args: Any) -> RunStatus:
        self._alive()
        return await super().release(*args)

    async def renew(self, shard: Shard, lease_s: float) -> Shard:
        self._alive()
        return await super().renew(shard, lease_s)

    @contextmanager
    def _mortally(self) -> Iterator[None]:
        when = "" if self.dead else self.dies_at_a_save()
        self.dead = self.dead or when == "before"
        self._alive()
        yield
        self.dead = self.dead or when == "after"
        self._alive()

    def _alive(self) -> None:
        if self.dead:
            raise StoreError("its process is dead")


@attrs.define(eq=False)
class World:
    """The external system, with its faults."""

    rng: Random
    store: Mortal
    trouble: float
    """Probability of a fault before a call takes effect, and after it."""
    existing: Counter[str] = attrs.field(factory=Counter)
    made: Counter[str] = attrs.field(factory=Counter)
    run: Run[Any] | None = None

    async def before(self, *, rollback: bool = False) -> None:
        """The call has no effect, and may report that or not."""
        await self._go_wrong([TransientError("busy"), AmbiguousError("lost"), PermanentError("no"), KeyError("a bug")])

    async def after(self) -> None:
        """The call has its effect, but the caller gets no response."""
        await self._go_wrong([AmbiguousError("lost"), KeyError("a bug")])

    async def _go_wrong(self, errors: Sequence[Exception]) -> None:
        if self.store.dead:
            await anyio.sleep_forever()  # a dead process does nothing
        if self.rng.random() >= self.trouble:
            return
        match self.rng.choice(["die", "cancel", "stop", "hang", "fail", "fail", "fail", "fail", "fail", "fail"]):
            case "die":
                self.store.dead = True
                raise KeyError("whatever: nobody hears it")
            case "cancel" if self.run is not None:
                self.run.cancel()
                await anyio.sleep_forever()
            case "stop" if self.run is not None:
                self.run.stop()
            case "hang":
                await anyio.sleep_forever()
            case _:
                raise self.rng.choice(errors)


@attrs.frozen(kw_only=True)
class Context:
    signed_on: int = 0


def key_of(name: str, step: Step[Any, Any] | Instance[Any]) -> str:
    return f"{name}:{step.number}"


class Making(State[Context, World]):
    """Creates one object, which can be recovered and removed."""

    retry = RetryPolicy(attempts=3)
    rollback_retry = RetryPolicy(attempts=3)

    async def run(self, step: Step[Context, World]) -> Outcome[Context]:
        await step.services.before()
        step.services.existing[key_of(self.name, step)] += 1
        step.services.made[key_of(self.name, step)] += 1
        await step.services.after()
        return done(step.context)

    async def recover(self, step: Step[Context, World]) -> Outcome[Context] | Recovery:
        await step.services.before()
        if step.services.rng.random() < step.services.trouble:
            return Recovery.UNKNOWN
        return done(step.context) if step.services.existing[key_of(self.name, step)] else Recovery.NOT_FOUND

    async def rollback(self, step: Step[Context, World]) -> None:
        await step.services.before()
        step.services.existing[key_of(self.name, step)] = 0
        await step.services.after()


class First(Making):
    transitions: ClassVar = {"done": "second"}


class Second(Making):
    transitions: ClassVar = {"done": "sign_on"}


class SignOn(State[Context, World]):
    """Creates nothing, and may be repeated freely."""

    transitions: ClassVar = {"done": "use"}
    repeat = Repeat.FREELY
    retry = RetryPolicy(attempts=3)

    async def run(self, step: Step[Context, World]) -> Outcome[Context]:
        await step.services.before()
        return done(attrs.evolve(step.context, signed_on=step.context.signed_on + 1))


class Use(State[Context, World]):
    """Goes back when an object that it uses has expired, and begins further rounds."""

    outcomes = frozenset({"done", "expired", "again"})
    transitions: ClassVar = {"done": "completed", "expired": Back("sign_on", at_most=2), "again": NextRound("sign_on")}
    repeat = Repeat.FREELY
    retry = RetryPolicy(attempts=3)

    async def run(self, step: Step[Context, World]) -> Outcome[Context]:
        await step.services.before()
        if step.services.rng.random() < step.services.trouble:
            raise ExpiredError("too late", outcome="expired")
        return Outcome("again", step.context) if step.another_round else done(step.context)


def workflow_over(world: World) -> Workflow[Context, World]:
    @asynccontextmanager
    async def open_services(settings: object, opening: ServiceContext) -> AsyncIterator[World]:
        yield world

    return Workflow(
        name="chaos",
        context=Context,
        states=(First(), Second(), SignOn(), Use()),
        initial_context=lambda run_id, number, settings: Context(),
        open_services=open_services,
    )


async def one_process(world: World, opened: AbstractAsyncContextManager[Run[Any]]) -> str:
    """Drive the run until it ends or its process dies. Returns its id."""
    world.store.dead, world.run = False, None
    run_id = ""
    try:
        async with opened as world.run:
            run_id = world.run.id
            await world.run.wait()
    except StoreError:
        assert world.store.dead, "a store that works has failed"
    return run_id


async def check(world: World, workflow: Workflow[Any, Any], record: RunRecord, vault: Vault) -> list[Instance[Any]]:
    """Check that the stored account of each instance is true."""
    found = [
        instance async for instance in StoredRun(record=record, workflow=workflow, store=world.store, vault=vault).instances()
    ]
    for instance in found:
        exist = {name for name in ("first", "second") if world.existing[key_of(name, instance)]}
        match instance.status:
            case Status.COMPLETED:
                assert exist == {"first", "second"} & set(instance.trail)
                assert len(exist) in (0, 2)
                assert instance.rounds >= 1
            case Status.ROLLED_BACK:
                assert not exist
            case Status.FAILED:
                assert exist <= set(instance.trail)
            case Status.ROLLBACK_FAILED:
                assert exist <= {left.state for left in instance.leftovers}
                assert instance.leftovers
            case _:
                assert record.status is not RunStatus.FINISHED
    assert set(world.made.values()) <= {0, 1}, "made twice"
    return found


async def play(seed: int, vault: Vault) -> Counter[str]:
    """Play one case to its end. Returns its history, for debugging."""
    rng, clock = Random(seed), Clock()
    store = Mortal(clock)
    world = World(rng, store, trouble=rng.choice([0.02, 0.1, 0.3]))
    deadly = rng.choice([0.0, 0.02])
    store.dies_at_a_save = lambda: rng.choice(["before", "after"]) if rng.random() < deadly else ""
    workflow = workflow_over(world)
    options = Options(vault=vault, clock=clock, rng=Random(seed), lease_s=LEASE_S, grace_s=0.01)
    opened = start(
        workflow,
        store=store,
        scenario=Scenario(instances=INSTANCES, concurrency=rng.randint(1, INSTANCES), rounds=rng.randint(1, 2)),
        on_failure=rng.choice(list(OnFailure)),
        on_success=rng.choice(list(OnSuccess)),
        options=options,
    )
    await one_process(world, opened)
    record = (await store.runs()).runs[0]
    seen: Counter[str] = Counter()
    for session in range(SESSIONS + 20):
        clock.ahead_s += 10 * LEASE_S
        record = await store.run(record.id)
        seen[record.status] += 1
        found = await check(world, workflow, record, vault)
        if session == SESSIONS:
            world.trouble, deadly = 0.0, 0.0
        if record.status is RunStatus.FINISHED:
            failed = [instance for instance in found if instance.status is Status.FAILED]
            if not failed or (session < SESSIONS and rng.random() < 0.3):
                break
            number = rng.choice(failed).number if rng.random() < 0.5 else None
            opened = retry(workflow, record.id, store=store, number=number, options=options)
        elif rng.random() < 0.1:
            opened = cleanup(workflow, record.id, store=store, options=options)
        else:
            opened = resume(workflow, record.id, store=store, options=options)
        await one_process(world, opened)
    world.trouble, deadly = 0.0, 0.0
    assert record.status is RunStatus.FINISHED, "it does not end"
    await one_process(world, cleanup(workflow, record.id, store=store, options=options))
    record = await store.run(record.id)
    assert record.status is RunStatus.FINISHED
    found = await check(world, workflow, record, vault)
    assert not +world.existing, "left behind"
    assert all(instance.status in TERMINAL for instance in found)
    seen.update(instance.status for instance in found)
    return seen


@pytest.mark.parametrize("seed", range(60))
async def test_nothing_is_lost_repeated_or_left_behind(seed: int, vault: Vault) -> None:
    await play(seed, vault)
