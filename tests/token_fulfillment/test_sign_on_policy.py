"""The setting ``sign_on_policy``: the policy is assigned to the application once, and goes away with it."""

from __future__ import annotations

import pytest

from orchestrator import (
    SettingError,
    Status,
    Vault,
    cleanup,
    open_store,
)
from states.sandbox import Sandbox
from states.token_fulfillment import WORKFLOW, TokenFulfillmentSettings
from states.token_fulfillment.settings import ResponseMode
from tests.support.tenant import assert_each_once, assert_nothing_left, client_of, run_once, sandbox
from tests.support.toy import fast


async def test_a_default_policy_that_asks_for_more_is_explained(vault: Vault) -> None:
    async with sandbox(default_policy="Multi_Factor") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert instance.failure is not None
    assert "OTP_REQUIRED" in instance.failure.message
    assert "--sign-on-policy" in instance.failure.message
    assert_nothing_left(emulator)


async def policy_id(emulator: Sandbox) -> str:
    async with client_of(emulator) as pingone:
        return await pingone.policies.find("Single_Factor")


@pytest.mark.parametrize("mode", list(ResponseMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("by", ["name", "id"])
async def test_a_policy_is_assigned_to_the_application_and_goes_away_with_it(vault: Vault, by: str, mode: ResponseMode) -> None:
    async with sandbox(default_policy="Multi_Factor") as emulator, open_store("memory:") as store:
        policy = "Single_Factor" if by == "name" else await policy_id(emulator)
        result, instance = await run_once(emulator, store, vault, sign_on_policy=policy, response_mode=mode)
        assert instance.status is Status.COMPLETED, instance.failure
        assert_each_once(emulator, policies=1)
        async with cleanup(WORKFLOW, result.run_id, store=store, options=fast(vault)) as run:
            await run.wait()
    assert_nothing_left(emulator)


FAULTS = ["reset_before*1", "reset_after*1", "hang_after*1", "503*2", "500_after*1", "429=1*1", "404*2"]


@pytest.mark.parametrize("operation", ["assign_policy", "read_policies", "read_policy_assignments", "create_grant"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_assigns_a_policy_twice(vault: Vault, operation: str, fault: str) -> None:
    settings = {"default_policy": "Multi_Factor", "list_delay_s": 0.02}
    async with sandbox(f"{operation}:{fault}", **settings) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, sign_on_policy="Single_Factor")
    assert instance.status is Status.COMPLETED, instance.failure
    assert any(call.fault for call in emulator.environment.audit.calls), "the fault was not played"
    assert_each_once(emulator, policies=1)


async def test_an_assignment_whose_answer_was_lost_and_that_lists_do_not_show_is_not_made_twice(vault: Vault) -> None:
    faults = "assign_policy:reset_after*1"
    settings = {"default_policy": "Multi_Factor", "list_delay_s": 2.0, "existing_id": False}
    async with sandbox(faults, **settings) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, sign_on_policy="Single_Factor", list_lag=1.0)
    assert instance.status is Status.COMPLETED, instance.failure
    assert_each_once(emulator, policies=1)


async def test_an_unknown_policy_is_refused_with_those_that_there_are(vault: Vault) -> None:
    async with sandbox() as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, sign_on_policy="Nobody")
    assert instance.failure is not None
    assert "no sign-on policy has the name or id 'Nobody'; there are: Single_Factor, Multi_Factor" in instance.failure.message
    assert_nothing_left(emulator)


def test_an_empty_policy_is_refused() -> None:
    with pytest.raises(SettingError, match="sign-on-policy: must be the name or the id of a policy, not empty"):
        TokenFulfillmentSettings(sign_on_policy=" ")
