"""The management API: create, find over pages, and responses that leave the effect of a create unknown."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import AmbiguousError, PermanentError, SystemClock
from states.pingone import open_client
from states.pingone.answers import AccessError
from states.pingone.management import Listing
from tests.support.pingone import API, TOKEN, client
from tests.support.tenant import sandbox, settings_for
from tests.support.transport import FakeTransport


async def test_a_403_names_the_probable_cause(http: FakeTransport) -> None:
    http.post(f"{API}/users", status=403, json={"code": "ACCESS_FAILED", "message": "no"})
    pingone = client(http)
    with pytest.raises(AccessError, match="does the worker have its roles in this environment"):
        await pingone.management.create("user", "users", {})


NO_LISTS: list[dict[str, Any]] = [
    {},
    {"_embedded": [1]},
    {"_embedded": {"users": 5}},
    {"_embedded": {"users": [None]}},
    {"_embedded": {"users": []}, "_links": {"next": 5}},
    {"_embedded": {"users": []}, "_links": {"next": {"href": 5}}},
    {"_embedded": {"users": []}, "_links": {"next": {"href": "http://[x"}}},
]


@pytest.mark.parametrize("odd", NO_LISTS, ids=str)
async def test_a_malformed_list_is_an_error_and_not_an_empty_list(http: FakeTransport, odd: dict[str, Any]) -> None:
    """An existing object would be created again."""
    http.get(f"{API}/users", json=odd)
    pingone = client(http)
    with pytest.raises(AmbiguousError):
        await pingone.management.find(Listing("users", "users", lambda row: row.get("username") == "somebody"))


@pytest.mark.parametrize("answer", [{"status": 201, "json": {}}, {"status": 206, "json": {"id": "u-1"}}, {"status": 303}])
async def test_a_create_that_may_have_worked_is_in_doubt(http: FakeTransport, answer: dict[str, Any]) -> None:
    http.post(f"{API}/users", **answer)
    pingone = client(http)
    with pytest.raises(AmbiguousError):
        await pingone.management.create("user", "users", {})


async def test_another_success_of_a_create_is_one(http: FakeTransport) -> None:
    http.post(f"{API}/users", status=200, json={"id": "u-1"})
    pingone = client(http)
    assert await pingone.management.create("user", "users", {}) == {"id": "u-1"}


async def test_a_page_is_followed_but_only_on_the_host_of_the_token(http: FakeTransport) -> None:
    http.get(
        f"{API}/resources",
        json={
            "_embedded": {"resources": [{"id": "1", "name": "a"}]},
            # The vendor's own examples have links with another scheme.
            "_links": {"next": {"href": f"{API}/resources?cursor=x".replace("https", "http")}},
        },
    )
    http.get(
        f"{API}/resources?cursor=x",
        json={"_embedded": {"resources": [{"id": "2", "name": "b"}]}, "_links": {"next": {"href": "https://evil.example/x"}}},
    )
    pingone = client(http)
    found = await pingone.management.find(Listing("resources", "resources", lambda row: row["name"] == "b"))
    assert found == {"id": "2", "name": "b"}
    http.get(f"{API}/resources", json={"_links": {"next": {"href": "https://evil.example/x"}}})
    pingone = client(http)
    http.post(TOKEN, json={"access_token": "token-1", "expires_in": 3600})
    with pytest.raises(PermanentError, match="not for that host"):
        await pingone.management.find(Listing("resources", "resources", lambda row: False))


async def test_an_answer_that_is_not_json_is_ambiguous(http: FakeTransport) -> None:
    http.post(f"{API}/users", status=201, body=b"<html>a proxy's page</html>")
    pingone = client(http)
    with pytest.raises(AmbiguousError):
        await pingone.management.create("user", "users", {})


@pytest.mark.parametrize("operation", ["set_password", "delete_user"])
async def test_no_effect_is_sent_again_by_the_http_library(operation: str) -> None:
    """aiohttp repeats PUT and DELETE by itself when a kept connection breaks."""
    async with (
        sandbox(f"{operation}:reset_before*1") as emulator,
        open_client(settings_for(emulator), SystemClock(), lambda: None) as pingone,
    ):
        user = await pingone.management.create("user", "users", {"username": "u", "email": "a@b.cd"})
        path = f"users/{user['id']}"
        with pytest.raises(AmbiguousError):
            if operation == "set_password":
                await pingone.management.put("set", f"{path}/password", {}, "application/vnd.pingidentity.password.set+json", [])
            else:
                await pingone.management.delete("user", path)
    assert emulator.audit()["calls"][operation] == 1


async def test_an_object_created_under_an_impossible_id_is_looked_for(http: FakeTransport) -> None:
    http.post(f"{API}/users", json={"id": "../\x1b[2J"}, status=201)
    pingone = client(http)
    with pytest.raises(AmbiguousError, match="user: the response contains no id"):
        await pingone.management.create("user", "users", {})
