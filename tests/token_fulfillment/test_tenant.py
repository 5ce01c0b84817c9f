"""Undocumented behavior of a real tenant: the sandbox plays it over real sockets, and runs complete."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
from aiohttp import web

from orchestrator import (
    Event,
    EventKind,
    Options,
    PermanentError,
    Scenario,
    Secret,
    SettingError,
    Status,
    SystemClock,
    Vault,
    open_store,
)
from states.pingone import open_client
from states.pingone.answers import MissingError, UnauthorizedError
from states.pingone.settings import PingOneSettings
from states.sandbox import Sandbox, SandboxSettings
from states.token_fulfillment.settings import ResponseMode
from tests.support.caller import Moving
from tests.support.clock import SPEED, FastClock
from tests.support.tenant import assert_each_once, assert_nothing_left, client_of, run_once, sandbox, settings_for, signing_key
from tests.support.toy import fast


@pytest.mark.parametrize("mode", list(ResponseMode), ids=lambda mode: mode.value)
async def test_flows_that_want_the_worker_token_get_it_once_that_is_known(vault: Vault, mode: ResponseMode) -> None:
    async with sandbox(flows_need_worker=True) as emulator, open_store("memory:") as store:
        scenario = Scenario(rounds=3)
        _, instance = await run_once(emulator, store, vault, run={"scenario": scenario}, response_mode=mode)
    assert instance.status is Status.COMPLETED, instance.failure
    refused = [call.operation for call in emulator.environment.audit.calls if call.status == 401]
    assert refused == ["read_flow"]
    assert_each_once(emulator)


async def test_flows_get_no_worker_token_unless_they_want_it() -> None:
    async with sandbox(flows_need_worker=False) as emulator, client_of(emulator) as pingone:
        with pytest.raises(MissingError):
            await pingone.sign_on.read("nothing", {})
        assert "worker_token" not in emulator.audit()["calls"]


async def test_a_flow_that_is_refused_with_the_worker_token_too_is_refused() -> None:
    async with sandbox("read_flow:401") as emulator, client_of(emulator) as pingone:
        for _ in range(2):
            with pytest.raises(UnauthorizedError):
                await pingone.sign_on.read("nothing", {})
        # Without the token, with it, with a new one; the client remembers none of that.
        assert emulator.audit()["calls"]["read_flow"] == 6


@pytest.mark.parametrize(
    ("status", "code"), [(400, "REQUEST_FAILED"), (400, "INVALID_DATA"), (409, "CONSTRAINT_VIOLATION"), (422, "ANYTHING")]
)
async def test_a_population_is_deleted_however_it_is_refused_right_after_its_user(vault: Vault, status: int, code: str) -> None:
    settings = {"user_count_delay_s": 0.2, "population_delete_status": status, "population_delete_code": code}
    async with sandbox(**settings) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, run={"on_success": "teardown"})
    assert instance.status is Status.COMPLETED, instance.leftovers
    assert any(call.operation == "delete_population" and call.status == status for call in emulator.environment.audit.calls)
    assert_nothing_left(emulator)


async def test_a_population_that_is_always_refused_is_left_over_within_the_policy(vault: Vault) -> None:
    async with sandbox("delete_population:400.REQUEST_FAILED") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault, run={"on_success": "teardown"})
    assert instance.status is Status.ROLLBACK_FAILED
    assert [left.effect.kind for left in instance.leftovers] == ["population"]


@pytest.mark.parametrize("method", ["CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST"])
async def test_the_worker_authenticates_in_the_way_that_its_application_wants(vault: Vault, method: str) -> None:
    async with sandbox("read_environment:401*1", worker_auth_method=method) as emulator, client_of(emulator) as pingone:
        await pingone.management.read("environment", "")
    statuses = [call.status for call in emulator.environment.audit.calls if call.operation == "worker_token"]
    assert statuses == ([200, 200] if method == "CLIENT_SECRET_BASIC" else [401, 200, 200])


async def test_a_wrong_secret_is_refused_in_both_ways_and_is_not_shown() -> None:
    async with sandbox() as emulator:
        settings = attrs.evolve(settings_for(emulator), client_secret=Secret("hunter2-hunter2"))
        async with open_client(settings, SystemClock(), lambda: None) as pingone:
            with pytest.raises(PermanentError, match="check PINGONE_CLIENT_ID") as refused:
                await pingone.worker_token.get()
    assert "hunter2" not in str(refused.value)
    assert emulator.audit()["calls"] == {"worker_token": 2}


async def test_a_given_access_token_is_used_and_none_is_fetched(vault: Vault) -> None:
    async with sandbox() as emulator, open_store("memory:") as store:
        async with client_of(emulator) as pingone:
            token = await pingone.worker_token.get()
        emulator.environment.audit.call_counts.clear()
        given = {"client_id": None, "client_secret": None, "api_access_token": token}
        _, instance = await run_once(emulator, store, vault, **given)
    assert instance.status is Status.COMPLETED, instance.failure
    assert "worker_token" not in emulator.audit()["calls"]


async def test_a_given_access_token_that_is_refused_is_named() -> None:
    async with sandbox() as emulator:
        given = {"client_id": None, "client_secret": None, "api_access_token": Secret("stale-token-stale")}
        async with client_of(emulator, **given) as pingone:
            with pytest.raises(UnauthorizedError, match="PINGONE_API_ACCESS_TOKEN") as refused:
                await pingone.management.read("environment", "")
    assert "stale-token" not in str(refused.value)
    assert emulator.audit()["calls"] == {"read_environment": 1}


GIVEN = {"environment_id": "e", "client_id": "c", "client_secret": Secret("s")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (GIVEN | {"api_access_token": Secret("t")}, "client-id: cannot be combined with PINGONE_API_ACCESS_TOKEN"),
        ({"api_access_token": Secret("t")}, "environment-id: missing: PINGONE_API_ACCESS_TOKEN requires PINGONE_ENVIRONMENT_ID"),
        (GIVEN | {"api_hostname": "https://api.pingone.eu"}, "api-hostname: must be the name of a host"),
        (GIVEN | {"auth_hostname": "auth.example.com/x"}, "auth-hostname: must be the name of a host"),
        (GIVEN | {"auth_hostname": "a@b"}, "auth-hostname: must be the name of a host"),
        (GIVEN | {"auth_hostname": ""}, "auth-hostname: must be the name of a host"),
        (GIVEN | {"api_hostname": "h", "base_url": "http://127.0.0.1:1"}, "api-hostname: cannot be combined with base-url"),
    ],
)
def test_settings_of_a_tenant_that_contradict_each_other_are_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError) as refused:
        PingOneSettings(**given)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_hosts_are_given_separately() -> None:
    settings = PingOneSettings(**GIVEN, api_hostname="api.pingone.asia")
    assert (settings.api_url, settings.auth_url) == ("https://api.pingone.asia/v1", "https://auth.pingone.com")


DELAYS = {
    "roles_delay_s": ["create_application"],
    "reference_delay_s": ["grant_access", "create_user"],
    "sign_on_delay_s": ["authorize"],
    "client_delay_s": ["exchange_token"],
    "introspection_delay_s": ["introspect_token"],
}
"""Setting → the states that meet missing data."""


@pytest.mark.parametrize("setting", list(DELAYS))
@pytest.mark.parametrize("mode", list(ResponseMode), ids=lambda mode: mode.value)
async def test_new_objects_that_arrive_late_are_waited_for(vault: Vault, setting: str, mode: ResponseMode) -> None:
    now, met = Moving(), []

    def watch(event: Event) -> None:
        if event.kind is EventKind.RETRY:
            met.append(event.state)
            now.ahead_s += 10.0

    async with sandbox(**{setting: 10.0}, now=now) as emulator, open_store("memory:") as store:
        options = fast(vault, observers=[watch])
        _, instance = await run_once(emulator, store, vault, options=options, response_mode=mode)
    assert instance.status is Status.COMPLETED, instance.failure
    assert met == DELAYS[setting]
    assert_each_once(emulator)


async def test_a_user_and_a_password_that_the_sign_on_does_not_know_yet_are_waited_for(vault: Vault) -> None:
    async with sandbox("check_credentials:400.INVALID_CREDENTIALS*3") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.COMPLETED, instance.failure
    assert emulator.audit()["calls"]["authorize"] == 1
    assert_each_once(emulator)


async def test_credentials_that_are_always_refused_do_not_lock_the_account(vault: Vault) -> None:
    """An account is locked after five failures."""
    async with sandbox("check_credentials:400.INVALID_CREDENTIALS") as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert emulator.audit()["calls"]["check_credentials"] == 4
    assert_nothing_left(emulator)


@pytest.mark.parametrize("state", ["create_scope", "create_user", "authorize", "token", "introspect"])
async def test_a_refusal_is_final_once_the_objects_are_not_new_any_more(
    vault: Vault, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("states.token_fulfillment.steps.GRACE_S", 0.0)
    fault = f"{state}:{401 if state in ('token', 'introspect') else 403}"
    async with sandbox(fault) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert instance.failure is not None
    assert (instance.failure.kind, instance.failure.attempt) == ("permanent", 1)
    assert_nothing_left(emulator)


class PassingClock(FastClock):
    """The wall clock of the client passes as fast as its waits."""

    def __init__(self) -> None:
        self._began = time.time()

    def now(self) -> float:
        return self._began + (time.time() - self._began) * SPEED


async def test_the_grace_ends_after_some_seconds(vault: Vault) -> None:
    async with sandbox("create_scope:403") as emulator, open_store("memory:") as store:
        options = Options(vault=vault, clock=PassingClock(), rng=Random(1))
        _, instance = await run_once(emulator, store, vault, options=options)
    assert instance.failure is not None
    assert instance.failure.kind == "permanent"
    assert emulator.audit()["calls"]["create_scope"] > 3
    assert_nothing_left(emulator)


async def test_a_mapping_that_arrives_late_leads_back_to_authorize(vault: Vault) -> None:
    now = Moving()

    def watch(event: Event) -> None:
        if event.outcome == "claim_missing":
            now.ahead_s = 20.0

    async with sandbox(mapping_delay_s=20.0, now=now) as emulator, open_store("memory:") as store:
        result, instance = await run_once(emulator, store, vault, options=fast(vault, observers=[watch]))
        events = await store.events(result.run_id, 0)
    assert instance.status is Status.COMPLETED, instance.failure
    assert [event.state for event in events if event.outcome == "claim_missing"] == ["introspect_token"]
    assert_each_once(emulator)


async def test_a_claim_that_never_comes_is_looked_for_three_times_and_named(vault: Vault) -> None:
    async with sandbox(mapping_delay_s=3600.0) as emulator, open_store("memory:") as store:
        _, instance = await run_once(emulator, store, vault)
    assert instance.status is Status.ROLLED_BACK
    assert instance.failure is not None
    assert instance.failure.message.startswith(
        "the claim clientAssertion_custom is not in the access token; 'claim_missing' led back"
    )
    assert emulator.audit()["calls"]["authorize"] == 3
    assert_nothing_left(emulator)


async def test_a_get_on_a_connection_that_was_closed_without_notice_costs_no_attempt(vault: Vault) -> None:
    """A call that may have an effect is recovered before it is sent again; for a read, that is not another attempt."""
    async with sandbox(requests_per_connection=5) as emulator, open_store("memory:") as store:
        result, instance = await run_once(emulator, store, vault)
        events = await store.events(result.run_id, 0)
    assert instance.status is Status.COMPLETED, instance.failure
    reading = {"read_application_secret", "authorize", "start_flow", "resume_flow"}
    assert reading.isdisjoint(event.state for event in events if event.kind is EventKind.RETRY)
    assert_each_once(emulator)


async def test_reads_outlive_every_connection() -> None:
    async with sandbox(requests_per_connection=2) as emulator, client_of(emulator) as pingone:
        for _ in range(8):
            await pingone.management.read("environment", "")
    assert emulator.audit()["calls"] == {"worker_token": 1, "read_environment": 8}


@asynccontextmanager
async def over_tls(emulator: Sandbox, certificate: Path) -> AsyncIterator[str]:
    """Host and port at which a sandbox listens, as ``localhost``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    runner = web.AppRunner(emulator.application(), access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("mode", list(ResponseMode), ids=lambda mode: mode.value)
async def test_a_custom_domain_for_sign_on_has_no_environment_in_its_paths(
    vault: Vault, trusted: Path, mode: ResponseMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both hosts are given, and differ."""
    monkeypatch.setenv("NO_PROXY", "localhost")
    emulator = Sandbox(SandboxSettings(custom_domain=True), key=signing_key())
    async with over_tls(emulator, trusted) as api, over_tls(emulator, trusted) as auth, open_store("memory:") as store:
        given = {"base_url": None, "api_hostname": api, "auth_hostname": auth, "response_mode": mode, "list_lag": 1.0}
        _, instance = await run_once(emulator, store, vault, **given)
    assert instance.status is Status.COMPLETED, instance.failure
    paths = [call.path for call in emulator.environment.audit.calls]
    assert {path.split("/")[1] for path in paths} == {"v1", "as", "flows"}
    assert_each_once(emulator)


@pytest.mark.parametrize("host", ["auth.pingone.eu", "auth-staging.pingone.com", "pingone.example"])
def test_a_host_of_the_vendor_has_the_environment_in_its_paths(host: str) -> None:
    assert PingOneSettings(**GIVEN, auth_hostname=host).auth_root("e") == f"https://{host}/e"
