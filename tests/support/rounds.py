"""A workflow with rounds, and runs of it by a scenario."""

from __future__ import annotations

from typing import Any

import anyio

from orchestrator import (
    NextRound,
    Options,
    Outcome,
    PermanentError,
    Scenario,
    Vault,
    start,
)
from orchestrator.clock import SystemClock
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.load.statistics import Statistics
from orchestrator.storage.memory import MemoryStore
from tests.support.toy import Ledger, Making, fast, toy


class Provide(Making):
    """Creates one object, within a rate."""

    transitions = {"done": "use"}
    rate_group = "configuration"


class Use(Making):
    transitions = {"done": "check"}
    rate_group = "sign_on"


class Check(Making):
    outcomes = frozenset({"done", "again"})
    transitions = {"done": "completed", "again": NextRound("use")}

    async def run(self, step: Any) -> Outcome[Any]:
        outcome = await super().run(step)
        return Outcome("again", outcome.context) if step.another_round else outcome


def rounds(ledger: Ledger, **more: Any) -> Any:
    return toy(ledger, Provide(), Use(), Check(), **more)


async def drive(workflow: Any, store: MemoryStore, vault: Vault, scenario: Scenario, **more: Any) -> Any:
    # The times of a scenario are tested in real time.
    options = fast(vault) if scenario.length is None else Options(vault=vault)
    async with start(workflow, store=store, options=options, scenario=scenario, **more) as run:
        return await run.wait()


async def statistics(store: MemoryStore, run_id: str) -> Statistics:
    return Statistics.of(await store.statistics(run_id))


class SteppedClock(SystemClock):
    """The scenario's time stands still until a test moves it, on a machine of any speed."""

    time = 100.0

    def steady(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def deadline(self, seconds: float) -> float:
        # Waits for a moment of the scenario check the time again soon; limits of attempts are longer.
        return anyio.current_time() + (min(seconds, 0.005) if seconds < 15 else seconds)


def now_and_then(ledger: Ledger, every: int) -> None:
    """About one round in this many fails for good, but never the first one of an instance."""
    counted, seen = 0, set()

    async def act(step: Any) -> None:
        nonlocal counted
        counted += 1
        await anyio.sleep(0.002)  # the work of a round, which leaves the loop to others
        if step.number in seen and counted >= every:
            counted = 0
            raise PermanentError("refused now and then")
        seen.add(step.number)

    ledger.script = {"run use": [act] * 100_000}


async def summary_of(workflow: Any, store: MemoryStore, vault: Vault, result: Any) -> Any:
    return await summarise(await StoredRun.load(workflow, result.run_id, store=store, vault=vault))
