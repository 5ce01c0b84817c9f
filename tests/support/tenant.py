"""The sandbox for tests: one signing key for all, real sockets, a fast clock for the client."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

from orchestrator import Instance, Options, RunResult, Secret, Store, SystemClock, Vault, start
from states.pingone import PingOne, open_client
from states.sandbox import OPERATIONS, Sandbox, SandboxSettings, SigningKey, parse_faults, serve
from states.token_fulfillment import WORKFLOW, TokenContext, TokenFulfillmentSettings
from tests.support.toy import fast

STATES = [state.name for state in WORKFLOW.states]

OPERATION = {
    "map_attribute": "create_attribute",
    "grant_access": "create_grant",
    "start_flow": "read_flow",
    "submit_credentials": "check_credentials",
    "resume_flow": "resume",
    "exchange_token": "token",
    "introspect_token": "introspect",
}
"""State → the sandbox's name of its call, where they differ."""

KINDS = ("application", "resource", "scope", "attribute", "grant", "population", "user")


@lru_cache
def signing_key() -> SigningKey:
    """One key for all tests: generating it takes a while."""
    return SigningKey()


@asynccontextmanager
async def sandbox(faults: str = "", *, now: Callable[[], float] = time.time, **settings: Any) -> AsyncIterator[Sandbox]:
    """A sandbox on a free port."""
    emulator = Sandbox(SandboxSettings(**settings), faults=parse_faults(faults, OPERATIONS), key=signing_key(), now=now)
    async with serve(emulator):
        yield emulator


def settings_for(emulator: Sandbox, **more: Any) -> TokenFulfillmentSettings:
    """Client settings for this sandbox."""
    environment = emulator.environment
    given: dict[str, Any] = {
        "base_url": emulator.url,
        "environment_id": environment.id,
        "client_id": environment.worker_id,
        "client_secret": Secret(environment.worker_secret),
    }
    return TokenFulfillmentSettings(**given | more)


def variables_for(emulator: Sandbox) -> dict[str, str]:
    """The same settings as environment variables."""
    environment = emulator.environment
    return {
        "PINGONE_BASE_URL": emulator.url,
        "PINGONE_ENVIRONMENT_ID": environment.id,
        "PINGONE_CLIENT_ID": environment.worker_id,
        "PINGONE_CLIENT_SECRET": environment.worker_secret,
    }


async def run_once(
    emulator: Sandbox,
    store: Store,
    vault: Vault,
    *,
    options: Options | None = None,
    run: dict[str, Any] | None = None,
    **settings: Any,
) -> tuple[RunResult, Instance[TokenContext]]:
    """Run one instance against this sandbox. Returns the run's result and the ended instance."""
    options = options or fast(vault)
    async with start(WORKFLOW, settings_for(emulator, **settings), store=store, options=options, **(run or {})) as live:
        result = await live.wait()
        return result, await live.instance(0)


def assert_each_once(emulator: Sandbox, instances: int = 1, *, policies: int = 0) -> None:
    """Check that one of each kind of object exists per instance, and that no other was ever created.

    Args:
        policies: Expected number of assigned sign-on policies.
    """
    report, assigned = emulator.audit(), {"sign_on_policy_assignment": policies}
    assert report["existing"] == dict.fromkeys(KINDS, instances) | assigned
    assert report["created"] == dict.fromkeys(KINDS, instances) | (assigned if policies else {})
    assert report["created_twice"] == []


def assert_nothing_left(emulator: Sandbox) -> None:
    """Check that nothing exists, and that nothing was ever created twice."""
    report = emulator.audit()
    assert not any(report["existing"].values())
    assert report["created_twice"] == []


@asynccontextmanager
async def client_of(emulator: Sandbox, **settings: Any) -> AsyncIterator[PingOne]:
    """The client of the sandbox, with the clock of the machine."""
    async with open_client(settings_for(emulator, **settings), SystemClock(), lambda: None) as pingone:
        yield pingone
