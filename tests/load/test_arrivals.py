"""Runs by arrival rate: due, late, missed, stopped and cut off."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from orchestrator import (
    ENDLESS,
    EventKind,
    Options,
    RunStatus,
    Scenario,
    Status,
    Vault,
    resume,
    start,
)
from orchestrator.inspection.details import details_of
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.report import html, text
from orchestrator.report import json as json_report
from orchestrator.storage.memory import MemoryStore
from tests.support.rounds import SteppedClock, rounds, statistics, summary_of
from tests.support.toy import Ledger, toy
from tests.support.waiting import until


def stepped(vault: Vault) -> tuple[SteppedClock, Options]:
    """A clock that the test moves, and the options with it."""
    clock = SteppedClock()
    return clock, Options(vault=vault, clock=clock, lease_s=3600)


async def test_arrivals_come_by_the_clock_however_long_the_earlier_ones_take(store: MemoryStore, vault: Vault) -> None:
    ledger, leave, began = Ledger(), anyio.Event(), []
    clock, options = stepped(vault)

    async def hold(step: Any) -> None:
        began.append(clock.time - 100.0)
        await leave.wait()

    ledger.script = {"run one": [hold] * 10}
    scenario = Scenario(rate=2.0, duration=5.0, concurrency=50)
    async with start(toy(ledger), store=store, scenario=scenario, options=options) as run:
        for due in range(1, 11):
            await until(lambda due=due: len(began) == due)
            clock.time += 0.5
        leave.set()
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 10}
    assert began == [0.5 * number for number in range(10)]
    measured = await statistics(store, result.run_id)
    assert measured.latency("start_lag").count == 10


async def test_an_arrival_that_has_to_wait_is_late_and_counts_from_when_it_was_due(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    clock, options = stepped(vault)

    def stall(step: Any) -> None:
        clock.time += 4.0

    ledger.script = {"run one": [stall]}
    scenario = Scenario(rate=10.0, instances=10, concurrency=1)
    async with start(toy(ledger), store=store, scenario=scenario, options=options) as run:
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 10}
    measured = await statistics(store, result.run_id)
    assert measured.total.counters["late"] == 9
    assert measured.latency("instance").at(50) == pytest.approx(3.5, rel=0.05)


async def test_arrivals_that_never_get_their_turn_are_missed_and_said_to_be(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    clock, options = stepped(vault)

    def hang(step: Any) -> None:
        clock.time += 2.6

    ledger.script = {"run one": [hang]}
    scenario = Scenario(rate=10.0, duration=2.0, graceful_stop=0.5, concurrency=1)
    async with start(toy(ledger), store=store, scenario=scenario, options=options) as run:
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.total == 20
    assert result.counts[Status.PENDING] == 19
    instance_events = await store.events(result.run_id, 0)
    assert [event.code for event in instance_events if event.kind is EventKind.ROLLING_BACK] == ["cut_off"]
    assert ledger.existing == []


async def test_arrivals_that_wait_for_their_turn_when_it_is_stopped_are_left_to_the_resume(
    store: MemoryStore, vault: Vault
) -> None:
    ledger = Ledger()
    clock, options = stepped(vault)
    scenario = Scenario(rate=1.0, instances=10, concurrency=50)
    async with start(toy(ledger), store=store, scenario=scenario, options=options) as run:
        clock.time += 3.5
        await until(lambda: run.live.count("ended.completed") == 4)
        run.stop()
        result = await run.wait()
    assert result.interrupted
    assert result.counts == {Status.COMPLETED: 4, Status.PENDING: 6}
    async with resume(toy(ledger), result.run_id, store=store, options=options) as run:
        clock.time += 6
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 10}


async def test_instances_that_wait_for_a_rate_are_cut_off_too(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    clock, options = stepped(vault)
    scenario = Scenario(concurrency=5, duration=3.0, graceful_stop=2.0, rounds=ENDLESS)
    more = {"rates": {"sign_on": 0.4}, "on_success": "teardown"}
    async with start(rounds(ledger), store=store, scenario=scenario, options=options, **more) as run:
        await until(lambda: ledger.calls.count("run provide") == 5 and "run use" in ledger.calls)
        clock.time += 5.1

        def nothing_is_left() -> bool:
            clock.time += 2.5  # the rollback of "use" keeps to the rate, too
            return not [name for name in ledger.existing if name.startswith("provide")]

        await until(nothing_is_left)
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.ROLLED_BACK: 5}


async def test_a_rate_counts_nothing_that_ends_in_the_graceful_stop_and_every_report_says_the_same(
    store: MemoryStore, vault: Vault
) -> None:
    ledger, late = Ledger(), anyio.Event()

    async def wait(step: Any) -> None:
        if step.number >= 5:
            await late.wait()

    ledger.script = {"run check": [wait] * 1000}
    workflow = rounds(ledger)
    scenario = Scenario(rate=20.0, duration=1.0)
    thresholds = ["instance.rate > 12/s", "instance.count > 12"]
    clock, options = stepped(vault)
    async with start(workflow, store=store, options=options, scenario=scenario, thresholds=thresholds) as run:
        clock.time += 0.99
        await until(lambda: run.live.count("started") == 20 and run.live.count("ended.completed") == 5)
        clock.time += 0.01
        await until(lambda: run.statistics.seconds >= 0.99)  # the tick at the end of its time
        clock.time += 0.5
        late.set()
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 20}
    summary = await summary_of(workflow, store, vault, result)
    measured = summary.statistics
    assert measured.seconds >= 0.99
    assert measured.ended("instance") == 5
    assert measured.latency("instance").count == 20
    rate = 5 / measured.seconds
    assert [verdict.holds for verdict in summary.verdicts] == [False, False]
    assert float(summary.verdicts[0].value.removesuffix("/s")) == pytest.approx(rate, rel=0.1)
    span = json_report.statistics(summary)["segments"]["instance"]
    assert (span["count"], span["ended"], span["rate"]) == (20, 5, rate)
    said = "\n".join(text.lines(summary))
    assert f"{rate:.1f} instance/s" in said
    assert "ended in the graceful stop: in the percentiles, in no rate: 15 round, 15 instance" in said
    page = html.page(await details_of(await StoredRun.load(workflow, result.run_id, store=store, vault=vault), summary))
    assert f"<b>{rate:.1f}/s</b><span>instances</span>" in page
    assert '"graceful stop"' in page
