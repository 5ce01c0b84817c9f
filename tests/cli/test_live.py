"""The live view of a run of many instances, in terminals of any height, and its numbers of overdue arrivals."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
from rich.console import Console

from orchestrator import Event, EventKind, Options, PermanentError, Run, Scenario, Vault, start
from orchestrator.cli.display.load_view import LoadView
from orchestrator.clock import SystemClock
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.report.text import lines, measuring_notes
from orchestrator.report.verdict import exit_code
from orchestrator.storage.memory import MemoryStore
from tests.support.toy import Ledger, Making, fast, toy
from tests.support.waiting import until

STATES = [f"step_{number:02}" for number in range(1, 16)]


def fifteen(ledger: Ledger) -> Any:
    """A workflow with as many states as token-fulfillment."""
    pairs = zip(STATES, [*STATES[1:], "completed"], strict=True)
    return toy(ledger, *(type(name, (Making,), {"name": name, "transitions": {"done": then}})() for name, then in pairs))


def shown(workflow: Any, run: Run[Any], height: int, width: int = 80) -> list[str]:
    """The lines of the view in a terminal of this size."""
    terminal = io.StringIO()
    console = Console(file=terminal, width=width, height=height, force_terminal=True, color_system=None, highlight=False)
    view = LoadView(workflow, "a run", console)
    view.attach(run)
    console.print(view.render())
    return terminal.getvalue().splitlines()


@asynccontextmanager
async def overloaded(ledger: Ledger, vault: Vault, *thresholds: str) -> AsyncIterator[tuple[Any, Run[Any]]]:
    """200 arrivals are due; the only one that has started ends with the block."""
    release = anyio.Event()
    ledger.script["run step_01"] = [lambda step: release.wait()]
    workflow = fifteen(ledger)
    scenario = Scenario(rate=2000.0, duration=0.1, concurrency=1, graceful_stop=600.0)
    options = Options(vault=vault, clock=SystemClock(), rng=Random(1))
    async with start(workflow, store=MemoryStore(), options=options, scenario=scenario, thresholds=thresholds) as run:
        await until(lambda: run.arrivals is not None and run.arrivals.overdue >= 199)
        yield workflow, run
        release.set()


async def test_arrivals_that_wait_are_shown_and_judged_while_they_wait(vault: Vault) -> None:
    ledger = Ledger()
    async with overloaded(ledger, vault, "missed < 1%", "late < 1%") as (workflow, run):
        assert run.arrivals is not None
        assert (run.arrivals.due, run.arrivals.started, run.arrivals.waiting) == (200, 1, 199)
        assert run.arrivals.behind_s > 0.1
        assert not any(verdict.holds for verdict in run.verdicts)
        view = shown(workflow, run, 24)
    text = "\n".join(view)
    assert "200 due, 1 started, 199 waiting, " in text
    assert "✗ missed < 1%: 99.5%" in text
    assert "✗ late < 1%: " in text
    lag = next(line.split() for line in view if line.strip().startswith("start_lag"))
    assert lag[:3] == ["start_lag", "199", "1"]


async def test_a_low_terminal_shows_broken_thresholds_and_errors_first_and_counts_idle_states(vault: Vault) -> None:
    ledger = Ledger()
    failed = {"state": "step_07", "handler": "run", "attempt": 1, "failure": "transient", "code": "503", "error": "too busy"}
    async with overloaded(ledger, vault, "missed < 1%") as (workflow, run):
        for _ in range(47):
            run._collector(Event(run_id=run.id, number=0, kind=EventKind.RETRY, at=0.0, **failed))
        low = shown(workflow, run, 24)
        tall = shown(workflow, run, 40)
    assert len(low) <= 23
    assert all(len(line) <= 80 for line in low)
    broken = next(at for at, line in enumerate(low) if line.startswith("✗"))
    errors = next(at for at, line in enumerate(low) if line.startswith("47 × step_07 503"))
    table = next(at for at, line in enumerate(low) if "oldest" in line)
    assert broken < errors < table
    assert any("step_01" in line for line in low), "an instance stands there"
    assert any(" more, " in line and line.rstrip().endswith(" idle") for line in low)
    assert all(any(name in line for line in tall) for name in STATES), "a high one shows them all"


async def test_a_scenario_that_cannot_catch_up_is_ended_and_stays_judged_so(vault: Vault) -> None:
    ledger, store = Ledger(), MemoryStore()
    ledger.script["run step_01"] = [lambda step: anyio.sleep(0.05)] * 10_000  # slower than the arrivals
    workflow = fifteen(ledger)
    scenario = Scenario(rate=1000.0, duration=60.0, concurrency=1, graceful_stop=0.0)
    more = {"options": fast(vault), "scenario": scenario, "thresholds": ["missed < 1%"], "abort": True}
    async with start(workflow, store=store, **more) as run:
        await until(lambda: run.aborted is not None)
        assert "missed < 1%" in run.aborted
        await run.wait()
        summary = await summarise(await StoredRun.load(workflow, run.id, store=store, vault=vault))
    assert summary.missed > 0
    assert [verdict.holds for verdict in summary.verdicts] == [False]
    assert exit_code(summary) == 4


async def test_statistics_lost_by_a_kill_are_counted(vault: Vault) -> None:
    store, workflow = MemoryStore(), fifteen(Ledger())
    async with start(workflow, store=store, options=fast(vault), instances=3) as run:
        await run.wait()
    [shard], stored = await store.shards(run.id), await StoredRun.load(workflow, run.id, store=store, vault=vault)
    whole = await summarise(stored)
    assert whole.unmeasured == 0
    assert not list(measuring_notes(whole))
    await store.save_statistics([shard], {}, range(10), 0.0)
    lost = await summarise(stored)
    assert lost.unmeasured == 3
    assert list(measuring_notes(lost)) == [
        "3 instances ended unmeasured: a kill loses the statistics since the last save, a clean-up or retry has none"
    ]


async def test_instances_that_failed_alike_are_one_line(vault: Vault) -> None:
    store, ledger = MemoryStore(), Ledger()
    ledger.script["run step_02"] = [PermanentError(f"refused {number}", code="403") for number in range(5)]
    workflow = fifteen(ledger)
    async with start(workflow, store=store, options=fast(vault), instances=6) as run:
        await run.wait()
        summary = await summarise(await StoredRun.load(workflow, run.id, store=store, vault=vault))
    text = list(lines(summary))
    assert [line for line in text if "refused" in line and " in step_02" in line] == [
        f"  {run.id}-0 and 4 more in step_02, attempt 1 (permanent): refused 0"
    ]
    assert f"  5 × step_02 403 (permanent), e.g. {run.id}-0: refused 0" in text
