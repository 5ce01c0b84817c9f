"""The management API follows the rules of PingOne; each test quotes its rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.caller import (
    APPLICATION,
    calling,
    furnish,
)
from tests.support.tenant import sandbox

REFUSED: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "a name is required": ("POST", "applications", {"json": APPLICATION | {"name": None}}, 400, "REQUIRED_VALUE"),
    "a name may not be empty": ("POST", "applications", {"json": APPLICATION | {"name": " "}}, 400, "EMPTY_VALUE"),
    "enabled is required": ("POST", "applications", {"json": APPLICATION | {"enabled": None}}, 400, "REQUIRED_VALUE"),
    "types are enumerated": ("POST", "applications", {"json": APPLICATION | {"type": "X"}}, 400, "INVALID_VALUE"),
    "wildcards are refused": (
        "POST",
        "applications",
        {"json": APPLICATION | {"redirectUris": ["https://*.x"]}},
        400,
        "INVALID_VALUE",
    ),
    "http is for localhost": (
        "POST",
        "applications",
        {"json": APPLICATION | {"redirectUris": ["http://x.org"]}},
        400,
        "INVALID_VALUE",
    ),
    "a private key needs a JWKS": (
        "POST",
        "applications",
        {"json": APPLICATION | {"tokenEndpointAuthMethod": "PRIVATE_KEY_JWT"}},
        400,
        "REQUIRED_VALUE",
    ),
    "a JWKS comes as a string": (
        "POST",
        "applications",
        {"json": APPLICATION | {"tokenEndpointAuthMethod": "PRIVATE_KEY_JWT", "jwks": {"keys": []}}},
        400,
        "INVALID_VALUE",
    ),
    "a JWKS holds keys": (
        "POST",
        "applications",
        {"json": APPLICATION | {"tokenEndpointAuthMethod": "PRIVATE_KEY_JWT", "jwks": '{"keys": [{"kty": "EC"}]}'}},
        400,
        "INVALID_VALUE",
    ),
    "a way to introspect is a known one": (
        "POST",
        "resources",
        {"json": {"name": "r", "introspectEndpointAuthMethod": "FOO"}},
        400,
        "INVALID_VALUE",
    ),
    "an audience may not say pingone": (
        "POST",
        "resources",
        {"json": {"name": "r", "audience": "https://pingone.x"}},
        400,
        "INVALID_VALUE",
    ),
    "a token lives 300 s at least": (
        "POST",
        "resources",
        {"json": {"name": "r", "accessTokenValiditySeconds": 299}},
        400,
        "OUT_OF_RANGE",
    ),
    "a username has 128 characters": (
        "POST",
        "users",
        {"json": {"username": "u" * 129, "email": "a@b.cd"}},
        400,
        "SIZE_LIMIT_EXCEEDED",
    ),
    "an email is well formed": ("POST", "users", {"json": {"username": "u", "email": "nobody"}}, 400, "INVALID_VALUE"),
    "a part of a name is not empty": (
        "POST",
        "users",
        {"json": {"username": "u", "email": "a@b.cd", "name": {"given": ""}}},
        400,
        "EMPTY_VALUE",
    ),
    "a population exists": (
        "POST",
        "users",
        {"json": {"username": "u", "email": "a@b.cd", "population": {"id": "x"}}},
        400,
        "INVALID_VALUE",
    ),
    "a filter names known attributes": ("GET", "users", {"params": {"filter": 'shoe eq "42"'}}, 400, "INVALID_FILTER"),
    "a limit is a number": ("GET", "users", {"params": {"limit": "x"}}, 400, "INVALID_PARAMETER"),
    "a cursor is ours": ("GET", "users", {"params": {"cursor": "!"}}, 400, "INVALID_PARAMETER"),
    "a body is JSON": (
        "POST",
        "resources",
        {"data": b"{", "headers": {"Content-Type": "application/json"}},
        400,
        "INVALID_VALUE",
    ),
}


@pytest.mark.parametrize("rule", list(REFUSED))
async def test_the_management_api_refuses_invalid_values(rule: str) -> None:
    method, path, request, status, detail = REFUSED[rule]
    async with calling() as call:
        answer = await call(method, path, **request)
    assert (answer.status, answer.detail) == (status, detail)
    assert answer.body["id"] == answer.headers["Correlation-Id"]


async def test_an_environment_has_built_in_resources() -> None:
    async with calling() as call:
        rows = (await call("GET", "resources")).body["_embedded"]["resources"]
        assert [(row["name"], row["type"]) for row in rows] == [("openid", "OPENID_CONNECT"), ("PingOne API", "PINGONE_API")]
        assert (await call("GET", f"resources/{rows[0]['id']}")).body["name"] == "openid"
        assert (await call("POST", "resources", json={"name": "OpenID"})).detail == "UNIQUENESS_VIOLATION"
        assert not any(call.emulator.audit()["existing"].values())


async def test_statuses_of_the_error_table() -> None:
    async with calling() as call:
        assert (await call("GET", "applications/nothing")).body["code"] == "NOT_FOUND"
        assert (await call("PATCH", "applications")).status == 405
        assert (await call("POST", "resources", data=b"x", headers={"Content-Type": "text/plain"})).status == 415
        assert (await call("GET", "users", headers={"Authorization": "Bearer no"})).detail == "INVALID_TOKEN"
        elsewhere = f"{call.emulator.url}/v1/environments/another/users"
        assert (await call("GET", "", at=elsewhere)).status == 403
        assert (await call("GET", "", at=f"{call.emulator.url}/nowhere")).status == 404


async def test_names_are_unique_without_regard_to_case_and_the_refusal_names_the_owner() -> None:
    async with calling() as call:
        first = (await call("POST", "populations", json={"name": "Pop"})).body["id"]
        again = await call("POST", "populations", json={"name": "pop"})
        assert (again.status, again.detail) == (400, "UNIQUENESS_VIOLATION")
        assert again.body["details"][0]["innerError"]["existingId"] == first
        assert (await call("POST", "applications", json=APPLICATION)).status == 201
        assert (await call("POST", "applications", json=APPLICATION)).status == 201
        assert call.emulator.audit()["created_twice"] == ["application app"]
    async with calling(duplicate_status=409, existing_id=False, unique_application_names=True) as call:
        assert (await call("POST", "applications", json=APPLICATION)).status == 201
        again = await call("POST", "applications", json=APPLICATION)
        assert (again.status, again.detail) == (409, "UNIQUENESS_VIOLATION")
        assert "innerError" not in again.body["details"][0]


async def test_collections_page_by_cursor_and_filter() -> None:
    async with calling(page_size=2) as call:
        for number in range(5):
            await call("POST", "users", json={"username": f"user{number}", "email": "a@b.cd"})
        seen, url = [], call.emulator.url + f"/v1/environments/{call.emulator.environment.id}/users"
        while url:
            page = (await call("GET", "", at=url)).body
            assert page["size"] <= 2
            seen += [user["username"] for user in page["_embedded"]["users"]]
            url = page["_links"].get("next", {}).get("href")
        assert seen == [f"user{number}" for number in range(5)]
        found = await call(
            "GET", "users", params={"filter": 'username sw "user" and (username eq "user3" or username eq "user4")'}
        )
        assert [user["username"] for user in found.body["_embedded"]["users"]] == ["user3", "user4"]


async def test_a_resource_maps_sub_by_itself_and_reserves_names() -> None:
    async with calling() as call:
        resource = (await call("POST", "resources", json={"name": "r"})).body
        assert resource["audience"] == "r"
        rows = (await call("GET", f"resources/{resource['id']}/attributes")).body["_embedded"]["attributes"]
        assert [(row["name"], row["type"]) for row in rows] == [("sub", "CORE")]
        path = f"resources/{resource['id']}/attributes"
        assert (await call("POST", path, json={"name": "sub", "value": "x"})).detail == "UNIQUENESS_VIOLATION"
        assert (await call("POST", path, json={"name": "aud", "value": "x"})).detail == "INVALID_VALUE"
        assert (await call("POST", path, json={"name": "odd", "value": "${#root.nothing}"})).detail == "INVALID_VALUE"
        assert (await call("DELETE", f"{path}/{rows[0]['id']}")).status == 400


async def test_deletes_cascade_and_constraints_hold() -> None:
    async with calling() as call:
        tenant = await furnish(call)
        refused = await call("DELETE", f"populations/{tenant.population}")
        assert (refused.status, refused.detail) == (400, "CONSTRAINT_VIOLATION")
        assert (await call("DELETE", f"applications/{tenant.app}")).status == 204
        assert (await call("DELETE", f"applications/{tenant.app}")).status == 404
        assert (await call("DELETE", f"resources/{tenant.resource}")).status == 204
        assert (await call("DELETE", f"users/{tenant.user}")).status == 204
        assert (await call("DELETE", f"populations/{tenant.population}")).status == 204
        assert not any(call.emulator.audit()["existing"].values())


async def test_the_audit_counts_deleted_objects() -> None:
    async with calling() as call:
        tenant = await furnish(call)
        assert (await call("DELETE", f"resources/{tenant.resource}/scopes/{tenant.scope}")).status == 204
        assert call.emulator.audit()["deleted"] == {"scope": 1}


async def test_an_unsupported_method_is_refused_in_the_form_of_the_vendor() -> None:
    async with calling() as call:
        answer = await call("PATCH", "users")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")
        assert {"Correlation-Id", "Cache-Control", "X-Frame-Options"} <= set(answer.headers)


async def test_an_environment_holds_only_so_many_applications() -> None:
    async with calling(max_applications=1) as call:
        await call("POST", "applications", json=APPLICATION)
        assert (await call("POST", "applications", json=APPLICATION)).detail == "LICENSE_EXCEEDED"


async def test_a_seed_repeats_ids_and_credentials() -> None:
    async with sandbox(seed=4) as first, sandbox(seed=4) as second, sandbox(seed=5) as other:
        assert first.environment.worker_secret == second.environment.worker_secret
        assert first.environment.id != other.environment.id


async def test_configuration_calls_above_the_limit_are_refused_and_no_others() -> None:
    async with calling(configuration_per_minute=3) as call:
        now = [1000.0]
        call.emulator.environment.now = lambda: now[0]
        assert [(await call("GET", "applications")).status for _ in range(3)] == [200] * 3
        now[0] += 20
        refused = await call("GET", "resources")
        assert (refused.status, refused.headers["Retry-After"], refused.detail) == (429, "40", "LIMIT_EXCEEDED")
        assert (await call("GET", "users")).status == 200
        now[0] += 41
        assert (await call("GET", "applications")).status == 200
