"""The worker's token: fetched once, shared, renewed early, and kept while a renewal fails."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import aiohttp
import anyio
import attrs
import pytest

from orchestrator import PermanentError, StepError, SystemClock, TransientError
from states.http.errors import NoConnectionError
from states.pingone.answers import UnauthorizedError
from states.pingone.management import Listing
from tests.support.pingone import API, TOKEN, client
from tests.support.transport import FakeTransport


async def test_the_worker_token_is_fetched_once_and_shared(http: FakeTransport) -> None:
    http.get(API, json={"id": "env-1"}, repeat=True)
    pingone = client(http)
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(pingone.management.read, "environment", "")
    assert len(http.sent("POST", TOKEN)) == 1
    assert all(call.headers["Authorization"] == "Bearer token-1" for call in http.sent("GET", API))


@attrs.define
class SteppedClock(SystemClock):
    """The test sets the steady time. Time limits pass a thousand times as fast."""

    time: float = 0.0

    def steady(self) -> float:
        return self.time

    def deadline(self, seconds: float) -> float:
        return anyio.current_time() + seconds / 1000


async def test_the_worker_token_is_renewed_early(http: FakeTransport) -> None:
    clock = SteppedClock()
    http.post(TOKEN, json={"access_token": "token-2", "expires_in": 3600})
    pingone = client(http, clock)
    assert (await pingone.worker_token.get()).reveal() == "token-1"
    clock.time = 2879
    assert (await pingone.worker_token.get()).reveal() == "token-1"
    clock.time = 2881
    assert (await pingone.worker_token.get()).reveal() == "token-2"


FAILED_RENEWALS: dict[str, dict[str, Any]] = {
    "503": {"status": 503},
    "refused credentials": {"status": 401, "json": {"error": "invalid_client"}},
    "an answer of another kind": {"json": []},
    "no connection": {"error": aiohttp.ClientConnectorError(Mock(host="h", port=1), OSError("refused"))},
    "a broken connection": {"error": aiohttp.ServerDisconnectedError()},
}


@pytest.mark.parametrize("answer", FAILED_RENEWALS.values(), ids=list(FAILED_RENEWALS))
async def test_a_token_that_cannot_be_renewed_is_used_until_it_expires(http: FakeTransport, answer: dict[str, Any]) -> None:
    clock = SteppedClock()
    http.post(TOKEN, **answer, repeat=True)
    pingone = client(http, clock)
    await pingone.worker_token.get()
    for clock.time in range(2880, 3600, 2):
        assert (await pingone.worker_token.get()).reveal() == "token-1"
    renewals = len(http.sent("POST", TOKEN)) - 1
    assert 12 <= renewals <= 40, "the pause between two renewals grows to a minute"
    clock.time = 3600
    with pytest.raises(StepError):
        await pingone.worker_token.get()


async def test_a_renewal_that_hangs_delays_requests_only_briefly(http: FakeTransport) -> None:
    clock = SteppedClock()
    http.post(TOKEN, hangs=True)
    http.post(TOKEN, json={"access_token": "token-2", "expires_in": 3600})
    pingone = client(http, clock)
    await pingone.worker_token.get()
    clock.time = 2881
    assert (await pingone.worker_token.get()).reveal() == "token-1"
    clock.time = 2883
    assert (await pingone.worker_token.get()).reveal() == "token-2"


async def test_a_401_is_asked_again_with_a_new_token_and_only_once(http: FakeTransport) -> None:
    http.post(f"{API}/users", status=401, json={"code": "ACCESS_FAILED"}, repeat=True)
    http.post(TOKEN, json={"access_token": "token-2", "expires_in": 3600}, repeat=True)
    pingone = client(http)
    with pytest.raises(UnauthorizedError):
        await pingone.management.create("user", "users", {})
    assert [call.headers["Authorization"] for call in http.sent("POST", f"{API}/users")] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


async def test_a_certificate_is_no_matter_of_credentials(http: FakeTransport) -> None:
    http.clear()
    http.post(TOKEN, error=aiohttp.ClientConnectorCertificateError(Mock(host="h", port=1), Exception("self-signed")))
    pingone = client(http)
    with pytest.raises(NoConnectionError, match="SSL_CERT_FILE") as failed:
        await pingone.worker_token.get()
    assert "PINGONE" not in str(failed.value)


async def test_wrong_worker_credentials_are_refused_with_a_remedy(http: FakeTransport) -> None:
    http.clear()
    refusal = {"error": "invalid_client", "error_description": "no worker-secret here"}
    http.post(TOKEN, status=401, json=refusal, repeat=True)
    pingone = client(http)
    with pytest.raises(PermanentError, match="check PINGONE_CLIENT_ID") as refused:
        await pingone.worker_token.get()
    assert "worker-secret" not in str(refused.value)


@pytest.mark.parametrize("status", [403, 404, 409])
async def test_a_refusal_of_the_token_endpoint_says_nothing_of_the_object(http: FakeTransport, status: int) -> None:
    """Otherwise a gateway's 404 would mean that the object to delete no longer exists."""
    http.clear()
    http.post(TOKEN, status=status, repeat=True)
    pingone = client(http)
    for call in (
        pingone.management.delete("user", "users/u-1"),
        pingone.management.create("scope", "resources/r-1/scopes", {}),
        pingone.management.read("user", "users/u-1"),
        pingone.management.find(Listing("users", "users", lambda row: True)),
    ):
        with pytest.raises(PermanentError, match="get a worker token") as refused:
            await call
        assert type(refused.value) is PermanentError
    assert {request.url for request in http.requests} == {TOKEN}


async def test_a_token_that_cannot_be_had_now_leaves_no_doubt_about_the_step(http: FakeTransport) -> None:
    http.clear()
    http.post(TOKEN, status=503)
    pingone = client(http)
    with pytest.raises(TransientError) as failed:
        await pingone.management.create("user", "users", {})
    assert type(failed.value) is TransientError
