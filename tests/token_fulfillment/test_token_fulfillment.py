"""The whole workflow against the sandbox, over real sockets."""

from __future__ import annotations

import anyio
import pytest

from orchestrator import EventKind, OnFailure, Options, Scenario, SettingError, Status, Vault, cleanup, open_store, retry, start
from states.pingone.assertion import ClientAuthentication, HmacAlgorithm
from states.token_fulfillment import WORKFLOW, TokenFulfillmentSettings
from states.token_fulfillment.settings import Expression, Pkce, ResponseMode
from tests.support.tenant import OPERATION, STATES, assert_each_once, assert_nothing_left, run_once, sandbox, settings_for
from tests.support.toy import fast

FINAL = "403.LICENSE_EXCEEDED"
"""A permanent refusal, although the objects are new."""

METHODS = [
    pytest.param({"auth_method": ClientAuthentication.PRIVATE_KEY_JWT}, id="private key"),
    *[pytest.param({"algorithm": algorithm}, id=algorithm.value) for algorithm in HmacAlgorithm],
]


async def test_the_claim_of_the_assertion_is_in_the_verified_token(vault: Vault) -> None:
    async with sandbox() as emulator, open_store("memory:") as store:
        result, instance = await run_once(emulator, store, vault)
        events = await store.events(result.run_id, 0)
    assert instance.status is Status.COMPLETED
    assert instance.context.verified is not None
    assert instance.context.verified.found == f"customValue-{instance.id}"
    assert instance.context.verified.in_introspection
    assert [event.state for event in events if event.kind is EventKind.MOVED] == STATES
    assert_each_once(emulator)


@pytest.mark.parametrize("settings", METHODS)
@pytest.mark.parametrize("mode", list(ResponseMode), ids=lambda mode: mode.value)
async def test_each_way_to_authenticate_works_in_both_response_modes(
    vault: Vault, settings: dict[str, object], mode: ResponseMode
) -> None:
    async with sandbox() as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, response_mode=mode, **settings)
    assert instance.status is Status.COMPLETED, instance.failure


@pytest.mark.parametrize("expression", list(Expression), ids=lambda expression: expression.value)
@pytest.mark.parametrize("method", list(ClientAuthentication), ids=lambda method: method.value)
async def test_each_expression_of_the_mapping_is_fulfilled(
    vault: Vault, expression: Expression, method: ClientAuthentication
) -> None:
    async with sandbox() as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, expression=expression, auth_method=method)
    assert instance.status is Status.COMPLETED, instance.failure
    assert instance.context.verified is not None
    assert instance.context.verified.found is not None


@pytest.mark.parametrize("pkce", list(Pkce), ids=lambda pkce: pkce.value)
async def test_a_code_challenge_is_sent_where_the_application_enforces_it(vault: Vault, pkce: Pkce) -> None:
    async with sandbox() as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, pkce=pkce)
    assert instance.status is Status.COMPLETED, instance.failure
    assert (instance.context.verifier is not None) == (pkce is not Pkce.OPTIONAL)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"secret_delay_s": 0.3}, id="the secret appears late"),
        pytest.param({"grant_delay_s": 0.3}, id="the grant appears late"),
        pytest.param({"audience_as_array": False}, id="the audience is a string"),
        pytest.param({"claims_in_introspection": False}, id="introspection hides the claim"),
        pytest.param({"cookies_at_authorize": False}, id="no cookie before the credentials"),
        pytest.param({"page_size": 1}, id="pages of one"),
        pytest.param({"token_typ": "JWT"}, id="a token of the older type"),
        pytest.param({"maps_as_text": True}, id="maps as text"),
        pytest.param({"duplicate_status": 409, "existing_id": False}, id="duplicates are 409"),
        pytest.param({"worker_token_lifetime_s": 1.0}, id="a worker token of a second"),
    ],
)
async def test_undocumented_behavior_of_the_vendor_makes_no_difference(vault: Vault, settings: dict[str, float]) -> None:
    async with sandbox(**settings) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, expression=Expression.REQUEST_DATA)
    assert instance.status is Status.COMPLETED, instance.failure
    assert_each_once(emulator)


async def test_a_code_that_comes_with_the_completed_flow_needs_no_resume(vault: Vault) -> None:
    async with sandbox(code_in_flow=True) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, response_mode=ResponseMode.PI_FLOW)
    assert instance.status is Status.COMPLETED, instance.failure
    assert "resume" not in emulator.audit()["calls"]


async def test_a_refused_worker_token_is_renewed_once(vault: Vault) -> None:
    async with sandbox("create_user:401*1") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.COMPLETED, instance.failure
    assert emulator.audit()["calls"]["worker_token"] == 2
    assert_each_once(emulator)


async def test_an_expired_flow_leads_back_to_authorize(vault: Vault) -> None:
    async with sandbox("check_credentials:404*1") as emulator, open_store("memory:") as store:
        result, instance = await run_once(emulator, store, vault)
        events = await store.events(result.run_id, 0)
    assert instance.status is Status.COMPLETED, instance.failure
    assert ("submit_credentials", "flow_expired") in [(event.state, event.outcome) for event in events]
    assert emulator.audit()["calls"]["authorize"] == 2
    assert_each_once(emulator)


async def test_a_code_that_always_expires_ends_in_a_rollback(vault: Vault) -> None:
    async with sandbox(code_lifetime_s=0) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert instance.failure is not None
    assert "5 times in a row" in instance.failure.message
    assert_nothing_left(emulator)


async def test_one_instance_signs_on_again_and_again(vault: Vault) -> None:
    async with sandbox() as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, run={"scenario": Scenario(rounds=4)})
    assert instance.status is Status.COMPLETED
    assert emulator.audit()["calls"]["introspect"] == 4
    assert_each_once(emulator)


async def test_teardown_leaves_a_completed_instance_and_an_empty_environment(vault: Vault) -> None:
    async with sandbox(user_count_delay_s=0.2) as emulator, open_store("memory:") as store:
        result, instance = await run_once(emulator, store, vault, run={"on_success": "teardown"})
    assert instance.status is Status.COMPLETED
    assert result.counts == {Status.COMPLETED: 1}
    assert instance.trail == ()
    assert_nothing_left(emulator)


async def test_leftovers_are_listed_by_name_and_id(vault: Vault) -> None:
    async with sandbox("delete_user:403") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, run={"on_success": "teardown"})
    assert instance.status is Status.ROLLBACK_FAILED
    assert [left.effect.kind for left in instance.leftovers] == ["user", "population"]
    assert instance.leftovers[0].effect.id == instance.context.user_id
    assert emulator.audit()["existing"]["application"] == 0


async def test_many_instances_at_once_are_kept_apart(vault: Vault) -> None:
    async with sandbox() as emulator, open_store("memory:") as store:
        settings = settings_for(emulator)
        async with start(WORKFLOW, settings, store=store, instances=30, concurrency=10, options=fast(vault)) as run:
            result = await run.wait()
            found = {(await run.instance(number)).context.verified.found for number in range(30)}
    assert result.counts == {Status.COMPLETED: 30}
    assert len(found) == 30
    assert_each_once(emulator, 30)


@pytest.mark.parametrize("then", ["teardown", "rollback"])
async def test_an_application_that_lists_show_late_is_adopted_not_doubled(vault: Vault, then: str) -> None:
    """Application names are not unique: only waiting after a lost response avoids a duplicate."""
    faults = "create_application:reset_after*1" + (" introspect:400" if then == "rollback" else "")
    async with sandbox(faults, list_delay_s=0.15) as emulator, open_store("memory:") as store:
        await run_once(emulator, store, vault, run={"on_success": "teardown"}, list_lag=20.0)
    assert emulator.audit()["created"]["application"] == 1
    assert_nothing_left(emulator)


async def test_a_look_survives_a_listing_that_fails(vault: Vault) -> None:
    faults = "create_application:reset_after*1 read_applications:503*1"
    async with sandbox(faults, list_delay_s=0.02) as emulator, open_store("memory:") as store:
        result, instance = await run_once(emulator, store, vault)
        events = await store.events(result.run_id, 0)
    assert instance.status is Status.COMPLETED
    assert [event.state for event in events if event.kind is EventKind.RETRY] == ["create_application"]
    assert_each_once(emulator)


async def test_a_twin_that_was_made_all_the_same_is_removed_with_it(vault: Vault) -> None:
    async with sandbox("create_application:reset_after*1", list_delay_s=0.3) as emulator, open_store("memory:") as store:
        result, instance = await run_once(emulator, store, vault, list_lag=0.0)
        assert instance.status is Status.COMPLETED
        assert emulator.audit()["existing"]["application"] == 2
        await anyio.sleep(0.3)  # the sandbox has the time of the machine: now its lists show the twin
        async with cleanup(WORKFLOW, result.run_id, store=store, options=fast(vault)) as run:
            await run.wait()
    assert not any(emulator.audit()["existing"].values())


async def test_a_twin_is_removed_though_lists_show_objects_deleted_before_it(vault: Vault) -> None:
    settings = {"list_delay_s": 0.3, "deleted_listed_s": 3600.0}
    async with sandbox("create_application:reset_after*1", **settings) as emulator, open_store("memory:") as store:
        result, _ = await run_once(emulator, store, vault, list_lag=0.0)
        assert emulator.audit()["existing"]["application"] == 2
        await anyio.sleep(0.3)  # the sandbox has the time of the machine: now its lists show the twin
        async with cleanup(WORKFLOW, result.run_id, store=store, options=fast(vault)) as run:
            await run.wait()
    assert not any(emulator.audit()["existing"].values())


@pytest.mark.parametrize("state", ["create_application", "create_resource", "create_population", "create_user"])
async def test_the_rollback_finds_the_object_of_a_lost_answer_though_lists_show_it_late(vault: Vault, state: str) -> None:
    faults = f"{state}:500_after*1 {state}:{FINAL}"
    async with sandbox(faults, list_delay_s=0.15) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, list_lag=20.0)
    assert instance.status in (Status.ROLLED_BACK, Status.COMPLETED), instance.leftovers
    if instance.status is Status.ROLLED_BACK:
        assert_nothing_left(emulator)


@pytest.mark.parametrize("operation", ["delete_user", "delete_resource", "delete_population"])
@pytest.mark.parametrize("status", [403, 409])
async def test_a_delete_that_is_refused_for_a_moment_is_tried_again(vault: Vault, operation: str, status: int) -> None:
    async with sandbox(f"{operation}:{status}*2") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, run={"on_success": "teardown"})
    assert instance.status is Status.COMPLETED, instance.leftovers
    assert_nothing_left(emulator)


@pytest.mark.parametrize("status", [400, 409])
async def test_a_population_that_counts_its_user_for_a_while_is_removed_all_the_same(vault: Vault, status: int) -> None:
    settings = {"user_count_delay_s": 0.2, "population_delete_status": status, "population_delete_code": "CONSTRAINT_VIOLATION"}
    async with sandbox(**settings) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, run={"on_success": "teardown"})
    assert instance.status is Status.COMPLETED, instance.leftovers
    assert_nothing_left(emulator)


@pytest.mark.parametrize("claim", ["sub", "Aud", "p1.x"])
def test_a_reserved_claim_is_refused(claim: str) -> None:
    with pytest.raises(SettingError, match="reserves"):
        TokenFulfillmentSettings(claim=claim)


FAULTS = {
    "reset before": "{op}:reset_before*1",
    "reset after": "{op}:reset_after*1",
    "time-out before": "{op}:hang_before*1",
    "time-out after": "{op}:hang_after*1",
    "503 twice": "{op}:503*2",
    "429": "{op}:429=1*1",
    "429 of a quota": "{op}:429.QUOTA_EXCEEDED=1*1",
    "500 after acting": "{op}:500_after*1",
}


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("state", STATES)
async def test_a_fault_in_any_state_is_absorbed_and_makes_nothing_twice(vault: Vault, state: str, fault: str) -> None:
    rule = FAULTS[fault].format(op=OPERATION.get(state, state))
    async with sandbox(rule, list_delay_s=0.02) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.COMPLETED, instance.failure
    assert any(call.fault for call in emulator.environment.audit.calls), "the fault was not played"
    assert_each_once(emulator)


@pytest.mark.parametrize("state", STATES)
async def test_a_permanent_refusal_in_any_state_is_rolled_back_with_nothing_left(vault: Vault, state: str) -> None:
    async with sandbox(f"{OPERATION.get(state, state)}:{FINAL}") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert instance.failure is not None
    assert instance.failure.state == state
    assert "Correlation-Id" in instance.failure.message or "correlation" in instance.failure.message.lower()
    assert_nothing_left(emulator)


@pytest.mark.parametrize("fault", [f"{FINAL}*1", "500_after"])
@pytest.mark.parametrize("state", STATES)
async def test_a_kept_instance_that_failed_in_any_state_continues_when_it_is_retried(
    vault: Vault, state: str, fault: str
) -> None:
    rule = f"{OPERATION.get(state, state)}:{fault}"
    async with sandbox(rule, list_delay_s=0.02) as emulator, open_store("memory:") as store:
        result, kept = await run_once(emulator, store, vault, run={"on_failure": OnFailure.KEEP})
        emulator.faults.clear()
        async with retry(WORKFLOW, result.run_id, store=store, options=fast(vault)) as again:
            await again.wait()
        instance = await again.instance(0)
    assert kept.status in ({Status.FAILED} if fault == f"{FINAL}*1" else {Status.FAILED, Status.COMPLETED})
    assert instance.status is Status.COMPLETED, instance.failure
    assert_each_once(emulator)


async def test_a_licence_that_is_used_up_is_no_matter_of_trying_again(vault: Vault) -> None:
    async with sandbox("create_user:403.LICENSE_EXCEEDED") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert instance.failure is not None
    assert (instance.failure.kind, instance.failure.code) == ("permanent", "LICENSE_EXCEEDED")
    assert [call.operation for call in emulator.environment.audit.calls].count("create_user") == 1
    assert_nothing_left(emulator)


@pytest.mark.parametrize("fault", ["reset_after", "500_after", "hang_after", "503"])
@pytest.mark.parametrize(
    "operation", ["delete_user", "delete_population", "delete_grant", "delete_resource", "delete_application"]
)
async def test_a_fault_while_rolling_back_leaves_nothing(vault: Vault, operation: str, fault: str) -> None:
    async with sandbox(f"introspect:400 {operation}:{fault}*1") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert_nothing_left(emulator)


async def test_a_tenant_at_its_limit_is_waited_for_and_nothing_fails(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """20 configuration calls a second: four instances, which create and remove their objects with some 52, are slowed down."""
    monkeypatch.setattr("states.sandbox.limits.WINDOW_S", 1.0)
    async with sandbox(configuration_per_minute=20) as emulator, open_store("memory:") as store:
        scenario, options = Scenario(instances=4, concurrency=4), Options(vault=vault)
        async with start(
            WORKFLOW, settings_for(emulator), store=store, scenario=scenario, on_success="teardown", options=options
        ) as run:
            result = await run.wait()
        assert result.counts == {Status.COMPLETED: 4}
        assert_nothing_left(emulator)
        refused = [seen for seen in emulator.environment.audit.calls if seen.status == 429]
        assert 0 < len(refused) < 20
