"""A run heeds the store: it stops when another process asks for it, and goes on by a changed scenario."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator import ENDLESS, NextRound, RunStatus, Scenario, Status, Vault, open_store, resume, start
from orchestrator.driving.numbers import Numbers
from orchestrator.lifecycle.changes import Change
from orchestrator.lifecycle.share import Share
from tests.support.toy import Ledger, Making, One, fast, toy
from tests.support.waiting import until


class Held(Ledger):
    """Counts the instances that are in state two, and holds them there until ``leave`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.leave = anyio.Event()
        self.inside = 0

    async def call(self, name: str, step: Any) -> Any:
        if name == "run two":
            self.inside += 1
            try:
                await self.leave.wait()
            finally:
                self.inside -= 1
        return await super().call(name, step)

    async def reaches(self, number: int) -> None:
        await until(lambda: self.inside == number)


def to(value: float, at: float = 0.0) -> Any:
    """A change of the scenario, for :meth:`Store.change_scenario`."""
    return lambda scenario: scenario.with_change(Change(at=at, value=value, asked_at=0.0))


async def test_a_run_is_suspended_when_the_store_says_so(vault: Vault) -> None:
    ledger, options = Held(), fast(vault)
    workflow = toy(ledger)
    async with open_store("memory:") as store:
        async with start(workflow, store=store, instances=5, concurrency=2, options=options) as run:
            await ledger.reaches(2)
            assert await store.ask_to_stop(run.id) == 1
            result = await run.wait()
        assert list(run.requests) == ["stopped from the web page"]
        assert result.status is RunStatus.INTERRUPTED
        assert result.of(Status.SUSPENDED) == 2
        ledger.leave.set()
        async with resume(workflow, run.id, store=store, options=options) as run:
            result = await run.wait()
        assert result.counts == {Status.COMPLETED: 5}


async def test_more_and_fewer_instances_run_at_once_when_the_concurrency_changes(vault: Vault) -> None:
    ledger = Held()
    workflow = toy(ledger)
    async with (
        open_store("memory:") as store,
        start(workflow, store=store, instances=40, concurrency=2, options=fast(vault)) as run,
    ):
        await ledger.reaches(2)
        await store.change_scenario(run.id, to(7))
        await ledger.reaches(7)
        await store.change_scenario(run.id, to(3, at=1.0))
        await until(lambda: len(run.scenario.changes) >= 2)
        ledger.leave.set()
        ledger.leave = anyio.Event()
        await ledger.reaches(3)
        ledger.leave.set()
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 40}
    assert ledger.calls.count("run one") == 40


@pytest.mark.parametrize("share", [(None, 1), ([0], 2)], ids=["whole", "a shard of two"])
async def test_every_arrival_starts_once_after_the_rate_was_raised_and_lowered(
    vault: Vault, share: tuple[list[int] | None, int]
) -> None:
    only, of = share
    ledger, options = Ledger(), fast(vault)
    workflow = toy(ledger)
    scenario = Scenario(rate=5, duration=60, concurrency=4, graceful_stop=3600)  # on a busy machine, no arrival is missed
    async with open_store("memory:") as store:
        async with start(workflow, store=store, scenario=scenario, shards=of, drive=False, options=options) as run:
            pass
        async with resume(workflow, run.id, store=store, shards=only, options=options) as run:
            for value, at in ((50, 5.0), (1, 10.0), (20, 20.0)):
                await store.change_scenario(run.id, to(value, at))
                change = Change(at=at, value=value, asked_at=0.0)
                await until(lambda change=change: run.scenario.changes[-1:] == (change,))
            result = await run.wait()
        total = (await store.run(run.id)).scenario.total
    assert total == 25 + 250 + 10 + 800
    numbers = [number for number in range(total) if number % of in (only or range(of))]
    assert result.of(Status.COMPLETED) == len(numbers)
    assert ledger.calls.count("run one") == len(numbers)


async def test_a_resumed_run_goes_on_by_the_changed_scenario(vault: Vault) -> None:
    ledger, options = Held(), fast(vault)
    workflow = toy(ledger)
    async with open_store("memory:") as store:
        async with start(workflow, store=store, instances=30, concurrency=1, options=options) as run:
            await ledger.reaches(1)
            run.stop()
        await store.change_scenario(run.id, to(6))
        async with resume(workflow, run.id, store=store, options=options) as run:
            await ledger.reaches(6)
            ledger.leave.set()
            result = await run.wait()
        assert result.counts == {Status.COMPLETED: 30}


async def test_users_of_a_soak_join_and_leave(vault: Vault) -> None:
    ledger = Held()
    workflow = rounds(ledger)
    scenario = Scenario(concurrency=2, rounds=ENDLESS, duration=3600)
    async with open_store("memory:") as store, start(workflow, store=store, scenario=scenario, options=fast(vault)) as run:
        await ledger.reaches(2)
        await store.change_scenario(run.id, to(5))
        await ledger.reaches(5)
        run.stop()
        ledger.leave.set()
        assert (await run.wait()).total == 5


def rounds(ledger: Ledger) -> Any:
    """A workflow that goes round from state two to state one."""

    class Two(Making):
        outcomes = frozenset({"done", "again"})
        transitions = {"done": "completed", "again": NextRound("one")}

    return toy(ledger, One(), Two())


def test_numbers_behind_the_gaps_follow_the_total() -> None:
    numbers = Numbers([1, 5], Share((1,), 4), begun=3)
    assert [numbers.next(10) for _ in range(3)] == [1, 5, None]
    assert numbers.next(14) == 13
    assert numbers.next(14) is None
    assert Numbers([2]).next(100) == 2
