"""The explanation of an instance, and the status of a run, on runs that the engine has stored."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from orchestrator import OnFailure, OnSuccess, PermanentError, RunStatus, Status, Vault, start
from orchestrator.inspection.explain import Explanation, explain, next_step
from orchestrator.inspection.standing import standing
from orchestrator.inspection.stored_run import StoredRun, newest_runs
from orchestrator.lifecycle.instance import Failure
from orchestrator.storage.lease import this_process
from orchestrator.storage.memory import MemoryStore
from orchestrator.storage.records import Shard
from tests.support.toy import Ledger, fast, toy


async def explained(ledger: Ledger, vault: Vault, **more: Any) -> tuple[StoredRun[Any], Explanation]:
    """The only instance of a run that has ended."""
    store, workflow = MemoryStore(), toy(ledger)
    async with start(workflow, store=store, options=fast(vault), **more) as run:
        await run.wait()
    stored: StoredRun[Any] = await StoredRun.load(workflow, run.id, store=store, vault=vault)
    found = await explain(stored, 0)
    assert found is not None
    assert await explain(stored, 1) is None
    return stored, found


async def test_a_completed_instance_lists_its_effects_and_the_order_of_a_rollback(vault: Vault) -> None:
    _, found = await explained(Ledger(), vault)
    assert [state for state, _ in found.effects] == ["one", "two", "three"]
    assert list(found.rollback_would_remove) == [effect for _, effect in reversed(found.effects)]
    name = found.instance.id
    assert found.next == f"nothing: it has reached its end; `orchestrator cleanup {name}` removes its objects"
    assert found.driver is None
    assert found.why_no_exchanges.startswith("it completed")


async def test_a_kept_failure_says_which_commands_continue_it(vault: Vault) -> None:
    refused = Ledger(script={"run two": [PermanentError("no")]})
    _, found = await explained(refused, vault, on_failure=OnFailure.KEEP)
    assert found.instance.status is Status.FAILED
    name = found.instance.id
    commands = f"`orchestrator retry {name}` continues it, `orchestrator cleanup {name}` removes its objects"
    assert found.next == f"nothing: it is kept as it is; {commands}"


async def test_commands_for_an_ended_instance_wait_for_the_end_of_its_run(vault: Vault) -> None:
    stored, found = await explained(Ledger(), vault)
    assert "; once the run is finished, `orchestrator cleanup" in next_step(stored.workflow, found.instance, run_ended=False)


async def test_an_instance_with_nothing_left_names_no_command(vault: Vault) -> None:
    _, found = await explained(Ledger(), vault, on_success=OnSuccess.TEARDOWN)
    assert found.next == "nothing: it has reached its end"


@pytest.mark.parametrize(
    ("changes", "next"),
    [
        ({}, "attempt 1 of at most 3 at two"),
        ({"doubt": True}, "look whether an earlier attempt at two had its effect, and repeat it only if not"),
        ({"status": Status.ROLLING_BACK, "trail": ("one", "two")}, "roll back two (attempt 1), then 1 more"),
        ({"status": Status.ROLLING_BACK, "trail": ()}, "end the rollback"),
    ],
    ids=["suspended", "in doubt", "rolling back", "rolled back"],
)
async def test_the_explained_next_step_is_the_step_of_a_driver(vault: Vault, changes: dict[str, Any], next: str) -> None:
    stored, found = await explained(Ledger(), vault)
    state = stored.workflow.state_named["two"]
    base = {"status": Status.SUSPENDED, "position": "two", "trail": ("one",)}
    expected = next.replace("at most 3", f"at most {state.retry.attempts}")
    assert next_step(stored.workflow, attrs.evolve(found.instance, **(base | changes))) == expected


async def test_the_next_step_after_a_failure_names_it(vault: Vault) -> None:
    stored, found = await explained(Ledger(), vault)
    failure = Failure(kind="transient", message="it was busy", state="two", attempt=1)
    waiting = attrs.evolve(found.instance, status=Status.SUSPENDED, position="two", failures=1, failure=failure)
    assert next_step(stored.workflow, waiting).startswith("attempt 2 of at most")
    assert next_step(stored.workflow, waiting).endswith("at two, because it was busy")


async def test_a_run_is_driven_while_one_of_its_shards_is(vault: Vault) -> None:
    stored, _ = await explained(Ledger(), vault)
    record = attrs.evolve(stored.record, status=RunStatus.RUNNING)
    fresh = Shard(run_id=record.id)
    free = attrs.evolve(fresh, epoch=1)
    ours = attrs.evolve(free, owner=this_process().dumps(), lease_until=4e9)
    dead = attrs.evolve(ours, owner=attrs.evolve(this_process(), pid=2**22 + 1).dumps())
    assert standing(record, [fresh, fresh]) == "stored, not driven yet"
    assert standing(record, [free, dead]) == "interrupted (its process is gone)"
    assert standing(record, [free, ours]).startswith(f"running (process {os.getpid()} on ")
    assert standing(record, [ours, ours]).count("process") == 1
    assert standing(attrs.evolve(record, status=RunStatus.FINISHED), [ours]) == "finished"


class AfterAKill(MemoryStore):
    """A store in which some instances of a state are suspended, and some were running when their process died."""

    async def counts(self, run_id: str) -> Mapping[tuple[Status, str], int]:
        return {(Status.RUNNING, "two"): 3, (Status.SUSPENDED, "two"): 4}


async def test_instances_at_one_place_are_added_over_their_statuses(vault: Vault) -> None:
    stored, _ = await explained(Ledger(), vault)
    assert await attrs.evolve(stored, store=AfterAKill()).places() == {"two": 7}


async def test_the_newest_runs_are_found_by_whether_they_are_finished(vault: Vault) -> None:
    store, workflow, ids = MemoryStore(), toy(Ledger()), []
    for stop in (True, False):
        async with start(workflow, store=store, options=fast(vault)) as run:
            if stop:
                run.cancel()
            await run.wait()
            ids.append(run.id)
    interrupted, finished = ids
    assert {record.id for record in await newest_runs(store, 2)} == {interrupted, finished}
    assert [record.id for record in await newest_runs(store, unfinished=True)] == [interrupted]
