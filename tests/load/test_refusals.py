"""Scenarios that are refused, and the estimates that say why."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import (
    ENDLESS,
    ConfigurationError,
    NextRound,
    OnSuccess,
    Quota,
    Scenario,
    SettingError,
    Status,
    Vault,
)
from orchestrator.load.estimate import check_quotas, check_time, estimate
from orchestrator.storage.memory import MemoryStore
from tests.support.rounds import Check, Provide, drive, rounds
from tests.support.toy import Ledger, Two, toy


async def test_a_workflow_without_rounds_refuses_them(store: MemoryStore, vault: Vault) -> None:
    with pytest.raises(SettingError, match="rounds: the workflow 'toy' has no rounds"):
        await drive(toy(Ledger()), store, vault, Scenario(rounds=2))
    assert (await store.runs()).runs == ()


async def test_there_must_be_something_to_use(store: MemoryStore, vault: Vault) -> None:
    ledger = Ledger()
    gone = await drive(rounds(ledger), store, vault, Scenario(instances=2), on_success="teardown")
    with pytest.raises(ConfigurationError, match="has no completed instance that was kept"):
        await drive(rounds(ledger), store, vault, Scenario(reuse=gone.run_id))


def test_an_estimate_names_the_group_that_holds_a_run_up_most() -> None:
    workflow = rounds(Ledger())
    found = estimate(workflow, Scenario(instances=100), {"configuration": 2.0}, OnSuccess.TEARDOWN)
    assert found is not None
    assert (found.seconds, found.calls) == (100, 2)
    assert "100 instances with 2 configuration attempts each, at 2/s: at least 1m40s" in str(found)
    assert estimate(workflow, Scenario(instances=100), {}, OnSuccess.KEEP) is None
    assert estimate(workflow, Scenario(instances=100, reuse="261123-000000"), {"configuration": 2.0}, OnSuccess.KEEP) is None


def test_a_scenario_whose_set_up_exceeds_its_time_is_refused() -> None:
    scenario = Scenario(concurrency=50, duration=10.0, rounds=ENDLESS)
    with pytest.raises(SettingError, match=r"duration: 10s is too short: 50 instances with 1 configuration attempts each"):
        check_time(rounds(Ledger()), scenario, {"configuration": 2.0})
    check_time(rounds(Ledger()), scenario, {"configuration": 20.0})


async def test_a_scenario_that_exceeds_the_quotas_is_refused(store: MemoryStore, vault: Vault) -> None:
    async def room(services: Any) -> dict[str, Quota]:
        return {"application": Quota(990, 1000)}

    workflow = toy(Ledger(), quotas=room)
    with pytest.raises(ConfigurationError, match="990 of at most 1000 applications exist, and the scenario needs up to 11 more"):
        await drive(workflow, store, vault, Scenario(instances=11))
    assert (await store.runs()).runs == ()
    result = await drive(workflow, store, vault, Scenario(instances=11, concurrency=5), on_success="teardown")
    assert result.counts == {Status.COMPLETED: 11}
    check_quotas({"application": Quota(990, 1000)}, Scenario(instances=99, reuse="261123-000000"), OnSuccess.KEEP)


def test_a_second_place_for_rounds_is_refused() -> None:
    class Other(Two):
        name = "use"
        outcomes = frozenset({"done", "back"})
        transitions = {"done": "check", "back": NextRound("provide")}

    with pytest.raises(Exception, match=r"only one transition may be a NextRound, not use\.back and check\.again"):
        toy(Ledger(), Provide(), Other(), Check())


async def test_a_rate_for_an_unknown_group_is_refused(store: MemoryStore, vault: Vault) -> None:
    with pytest.raises(SettingError, match="'configuraton' is not a rate group of 'toy'; known: configuration, sign_on"):
        await drive(rounds(Ledger()), store, vault, Scenario(), rates={"configuraton": 3.0})


def test_time_and_quotas_are_checked_for_the_users_of_a_soak_without_their_replacements() -> None:
    workflow, soak = rounds(Ledger()), Scenario(concurrency=20, duration=10.0, rounds=ENDLESS)
    check_time(workflow, soak, {"configuration": 2.0})  # each makes one call: ten seconds
    with pytest.raises(SettingError, match=r"duration: 10s is too short: 20 instances with 1 configuration attempts each"):
        check_time(workflow, soak, {"configuration": 1.9})
    found = estimate(workflow, soak, {"configuration": 2.0}, OnSuccess.KEEP)
    assert found is not None
    assert (found.instances, found.seconds) == (20, 10)
    for on_success in OnSuccess:
        check_quotas({"application": Quota(980, 1000)}, soak, on_success)
        with pytest.raises(ConfigurationError, match="the scenario needs up to 20 more at once"):
            check_quotas({"application": Quota(981, 1000)}, soak, on_success)
