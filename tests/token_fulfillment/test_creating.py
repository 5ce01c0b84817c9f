"""Objects that exist already, are not listed, or whose lists fail: each state finds its object, or leaves the doubt to the rollback."""

from __future__ import annotations

import pytest

from orchestrator import Status, Vault, cleanup, open_store
from states.token_fulfillment import WORKFLOW
from tests.support.tenant import assert_each_once, assert_nothing_left, run_once, sandbox
from tests.support.toy import fast


@pytest.mark.parametrize("existing_id", [True, False], ids=["with the id", "without the id"])
async def test_an_object_that_a_lost_answer_left_is_adopted_when_its_name_is_taken(vault: Vault, existing_id: bool) -> None:
    """The first request has its effect and is answered 429, which promises that it had none; the second finds the name taken."""
    faults = "create_resource:429_after=0*1 create_user:429_after=0*1 create_population:429_after=0*1"
    async with sandbox(faults, existing_id=existing_id) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.COMPLETED, instance.failure
    assert_each_once(emulator)


@pytest.mark.parametrize("on_failure", ["rollback", "keep"])
async def test_an_object_that_is_taken_and_not_listed_leaves_no_second_one(vault: Vault, on_failure: str) -> None:
    faults = "create_user:429_after=0*1 create_population:429_after=0*1"
    more = {"on_failure": on_failure, "on_success": "teardown"}
    async with sandbox(faults, existing_id=False, list_delay_s=0.3) as emulator, open_store("memory:") as store:
        result, instance = await run_once(emulator, store, vault, run=more)
        assert instance.status in {Status.COMPLETED, Status.ROLLED_BACK, Status.FAILED}
        async with cleanup(WORKFLOW, result.run_id, store=store, options=fast(vault)) as run:
            await run.wait()
    assert emulator.audit()["created_twice"] == []
    assert_nothing_left(emulator)


async def test_a_list_that_fails_once_is_read_again_while_an_object_is_looked_for(vault: Vault) -> None:
    faults = "create_application:reset_after*1 read_applications:503*1 create_scope:reset_after*1 read_scopes:503*1"
    async with sandbox(faults) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.COMPLETED, instance.failure
    assert_each_once(emulator)
