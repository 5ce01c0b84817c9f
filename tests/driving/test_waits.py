"""Waits: between attempts, for a rate group, and across an interruption."""

from __future__ import annotations

from typing import Any

import anyio
import attrs
import pytest

from orchestrator import (
    AmbiguousError,
    EventKind,
    Status,
    ThrottledError,
    TransientError,
    Vault,
    open_store,
    resume,
    start,
)
from orchestrator.storage.memory import MemoryStore
from tests.support.clock import SPEED, FastClock
from tests.support.runs import finish
from tests.support.toy import Ledger, One, Reading, Three, Two, fast, toy


async def test_a_rate_spaces_the_attempts_of_its_group(store: MemoryStore, vault: Vault) -> None:
    class Limited(Reading):
        name = "limited"
        rate_group = "slow"

    at: list[float] = []
    ledger = Ledger(script={"run limited": [lambda step: at.append(step.clock.steady())] * 5})
    await finish(toy(ledger, Limited()), store, vault, instances=5, concurrency=5, rates={"slow": 1.0})
    # Timers of the event loop are slightly early or late.
    assert at[-1] - at[0] >= 4 / SPEED * 0.9


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


async def test_a_rate_that_is_none_is_refused_before_anything_is_stored(store: MemoryStore, vault: Vault) -> None:
    from orchestrator import SettingError

    for rate in (0.0, float("inf"), float("nan")):
        with pytest.raises(SettingError, match="rates"):
            await finish(toy(Ledger()), store, vault, rates={"slow": rate})
    assert (await store.runs()).runs == ()
