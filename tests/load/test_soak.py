"""Soaks: users that stay, are replaced, held back, and reported."""

from __future__ import annotations

import re

import anyio
import pytest

from orchestrator import (
    ENDLESS,
    Options,
    PermanentError,
    RunStatus,
    Scenario,
    Stage,
    Status,
    Vault,
    resume,
    start,
)
from orchestrator.driving.admission import Admission
from orchestrator.inspection.details import details_of
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.report import html, text
from orchestrator.report import json as json_report
from orchestrator.report.csv import tables
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.verdict import exit_code
from orchestrator.storage.memory import MemoryStore
from tests.support.clock import ManualClock
from tests.support.rounds import SteppedClock, drive, now_and_then, rounds, statistics, summary_of
from tests.support.toy import Ledger
from tests.support.waiting import until


def busy(ledger: Ledger) -> None:
    """Rounds take a moment, so that they do not keep the event loop."""
    ledger.script = {"run use": [lambda step: anyio.sleep(0.001)] * 100_000}


async def test_a_soak_goes_round_until_the_time_is_over_and_tears_down(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    busy(ledger)
    scenario, options = Scenario(concurrency=3, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, options=options, scenario=scenario, on_success="teardown") as run:
        await until(lambda: ledger.calls.count("run use") > 9)
        clock.time += 11
        result = await run.wait()
    assert result.counts == {Status.COMPLETED: 3}
    assert result.status is RunStatus.FINISHED
    assert ledger.calls.count("run provide") == 3
    assert not [name for name in ledger.existing if name.startswith("provide")]


async def test_an_interrupted_soak_goes_on_for_the_time_that_is_left(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    busy(ledger)
    scenario, options = Scenario(concurrency=2, duration=12.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, scenario=scenario, options=options) as run:
        await until(lambda: ledger.calls.count("run use") > 4)
        clock.time += 6
        run.stop()
        result = await run.wait()
    assert result.interrupted
    assert result.counts == {Status.SUSPENDED: 2}
    assert (await statistics(store, result.run_id)).elapsed == pytest.approx(6)
    clock.time += 1000  # the time in which no process drives the run does not count
    async with resume(rounds(ledger), result.run_id, store=store, options=options) as run:
        before = ledger.calls.count("run use")
        await until(lambda: ledger.calls.count("run use") > before + 4)
        clock.time += 5.9
        await until(lambda: ledger.calls.count("run use") > before + 8)
        assert run.elapsed == pytest.approx(11.9)
        clock.time += 0.2
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.COMPLETED: 2}
    assert (await statistics(store, result.run_id)).elapsed == pytest.approx(12)


async def test_a_failed_user_of_a_soak_is_replaced(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 20)
    scenario, options = Scenario(concurrency=4, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, options=options, scenario=scenario, on_success="teardown") as run:
        await until(lambda: run.live.count("replaced") >= 3)
        # During the scenario the number of users is as wanted, except at the moment of a change.
        await until(lambda: run.live.offered == 4 == run.wanted)
        clock.time += 11
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    failed = result.counts[Status.ROLLED_BACK]
    counted = (await statistics(store, result.run_id)).total.counters
    assert counted["round.failed"] == failed
    # Numbers increase, and no instance is counted twice. One that fails in the last moment is not replaced.
    assert 3 <= counted["replaced"] <= failed
    assert ledger.calls.count("run provide") == 4 + counted["replaced"] == result.total
    assert result.counts[Status.COMPLETED] == result.total - failed
    assert not [name for name in ledger.existing if name.startswith("provide")]


async def test_a_soak_that_was_interrupted_still_replaces_and_numbers_go_on(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 15)
    scenario, options = Scenario(concurrency=3, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, options=options, scenario=scenario) as run:
        await until(lambda: run.live.count("replaced") >= 2)
        run.cancel()
        before = await run.wait()
    assert before.interrupted
    async with resume(rounds(ledger), before.run_id, store=store, options=options) as run:
        replaced = run.live.count("replaced")
        await until(lambda: run.live.count("replaced") >= replaced + 2)
        clock.time += 11
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.total >= before.total + 2
    counted = (await statistics(store, result.run_id)).total.counters
    # A place that was empty when the first process stopped is filled by the second process as for the first time.
    assert 3 <= result.total - counted["replaced"] <= 6
    assert [row.number for row in await store.load(result.run_id)] == list(range(result.total))


async def test_users_whose_server_refuses_everything_come_back_ever_more_slowly(store: MemoryStore, vault: Vault) -> None:
    """Without the wait, four users would be refused some thousand times a second."""
    ledger, clock = Ledger(script={"run provide": [PermanentError("refused")] * 100_000}), SteppedClock()
    scenario, options = Scenario(concurrency=4, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, options=options, scenario=scenario) as run:
        await until(lambda: run.held_back == 4)
        assert run.live.count("started") == 4
        clock.time += 1.01  # the first wait is at most a second, the second one at least that
        await until(lambda: run.held_back == 4 and run.live.count("started") == 8)
        clock.time += 2.01
        await until(lambda: run.held_back == 4 and run.live.count("started") == 12)
        clock.time += 10
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    assert result.counts == {Status.ROLLED_BACK: 12}
    counted = (await statistics(store, result.run_id)).total.counters
    assert counted["replaced"] == counted["held_back"] == 8


async def test_a_soak_by_stages_has_as_many_users_as_the_ramp_says(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 10**9)  # none fails
    scenario = Scenario(stages=(Stage(10, 8), Stage(10, 8), Stage(10, 0)), rounds=ENDLESS)
    options = Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, options=options, scenario=scenario, on_success="teardown") as run:
        for at, users in ((0.5, 1), (5, 4), (9.9, 8), (15, 8), (22, 7), (26, 4), (29, 1)):
            clock.time = 100.0 + at
            await until(lambda users=users: run.live.offered == users == run.wanted)
        clock.time = 131.0
        result = await run.wait()
    assert result.status is RunStatus.FINISHED
    # Down the ramp one instance leaves at a time; no new instance takes its place.
    assert result.counts == {Status.COMPLETED: 8}


async def test_a_ramp_loses_no_more_users_than_it_wants(vault: Vault) -> None:
    """Several instances ask in the same moment whether to begin another round."""
    clock = ManualClock()
    scenario = Scenario(stages=(Stage(10, 10), Stage(10, 0)), rounds=ENDLESS)
    admission = Admission(scenario, clock)
    admission.begin()
    clock.time += 10
    for _ in range(10):
        assert await admission.place()
    clock.time += 2.5
    assert scenario.concurrency_at(admission.elapsed) == 8
    assert [admission.wants_round(number, 1) for number in range(10)] == [False, False, *[True] * 8]
    # The first of them did not end after all (its token had expired), and asks again.
    assert admission.wants_round(0, 1) is False
    assert [admission.wants_round(number, 2) for number in range(2, 10)] == [True] * 8
    assert admission.give_back(0)
    assert admission.give_back(1)
    assert [admission.wants_round(number, 3) for number in range(2, 10)] == [True] * 8


async def test_the_load_that_was_wanted_is_shown_beside_the_one_that_there_was(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 10**9)
    ledger.script["run provide"] = [None, None, *[PermanentError("refused")] * 1000]
    scenario, options = Scenario(concurrency=5, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    async with start(rounds(ledger), store=store, scenario=scenario, options=options) as run:
        await until(lambda: run.live.offered == 2 and run.held_back == 3)
        for _ in range(20):
            run._collector.sample()
        clock.time += 11
        result = await run.wait()
    measured = (await statistics(store, result.run_id)).measured()
    assert measured.active[1] >= 20
    assert measured.wanted == 5
    assert 1.5 < measured.offered <= 2


async def test_every_report_of_a_soak_tells_of_failed_rounds_and_of_missing_users(store: MemoryStore, vault: Vault) -> None:
    ledger, clock = Ledger(), SteppedClock()
    now_and_then(ledger, 12)
    scenario, options = Scenario(concurrency=3, duration=10.0, rounds=ENDLESS), Options(vault=vault, clock=clock, lease_s=3600)
    workflow = rounds(ledger)
    async with start(workflow, store=store, scenario=scenario, options=options, thresholds=["round.failed < 60%"]) as run:
        await until(lambda: run.live.count("replaced") >= 2)
        clock.time += 11
        result = await run.wait()
    summary = await summary_of(workflow, store, vault, result)
    counted = summary.statistics.total.counters
    failed, done, replaced = (counted[name] for name in ("round.failed", "round.done", "replaced"))
    assert failed == result.counts[Status.ROLLED_BACK] > 0
    assert exit_code(summary) is ExitCode.SUCCESS  # the threshold allows these failures
    said = "\n".join(text.lines(summary))
    assert f"{done} rounds finished, {failed} failed (" in said
    assert re.search(rf"users on average: [0-9.]+ wanted, [0-9.]+ in their rounds; {replaced} replaced after a failure", said)
    data = json_report.statistics(summary)
    assert data["rounds"] == {"done": done, "failed": failed}
    assert data["load"]["replaced"] == replaced
    assert data["segments"]["round"]["count"] == done
    picture = await details_of(await StoredRun.load(workflow, result.run_id, store=store, vault=vault), summary)
    assert "in their rounds" in html.page(picture)
    assert '"wanted":[' in html.page(picture)
    assert {"wanted", "offered"} < set(tables(picture)["timeline.csv"].splitlines()[0].split(","))


async def test_a_threshold_on_rounds_does_not_excuse_instances_that_failed_before_them(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger(script={"run provide": [PermanentError("refused")]})
    workflow = rounds(ledger)
    result = await drive(workflow, store, vault, Scenario(instances=5, concurrency=5), thresholds=["round.failed < 60%"])
    summary = await summary_of(workflow, store, vault, result)
    assert [verdict.holds for verdict in summary.verdicts] == [True]
    assert exit_code(summary) is ExitCode.FAILED
