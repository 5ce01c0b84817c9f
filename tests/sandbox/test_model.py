"""Bodies and updates of the sandbox's management API follow the vendor's data model; each test quotes its rule."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.caller import APPLICATION, CHECK, PASSWORD, REDIRECT, Caller, Tenant, calling, furnish

USER = {"username": "u", "email": "a@b.cd"}


def nulls(value: Any) -> bool:
    """Whether ``null`` occurs anywhere."""
    if isinstance(value, dict):
        return any(nulls(part) for part in value.values())
    if isinstance(value, list):
        return any(nulls(part) for part in value)
    return value is None


async def test_an_environment_has_a_license() -> None:
    """Environments data model: ``license``, ``name``, ``region`` and ``type`` are required."""
    async with calling() as call:
        body = (await call("GET", "")).body
    assert body["id"] == call.emulator.environment.id
    assert body["license"]["id"]
    assert {"name", "region", "type"} <= set(body)


async def test_a_field_that_was_not_given_is_absent() -> None:
    """Models of resource, scope, population and user: no field is nullable."""
    async with calling() as call:
        tenant = await furnish(call)
        bare = (await call("POST", "users", json=USER)).body
        for path in (
            f"applications/{tenant.app}",
            f"resources/{tenant.resource}",
            f"resources/{tenant.resource}/scopes/{tenant.scope}",
            f"populations/{tenant.population}",
            f"users/{bare['id']}",
        ):
            body = (await call("GET", path)).body
            assert "description" not in body
            assert not nulls(body)
        page = (await call("GET", "resources")).body
        assert not nulls(page)
        described = (await call("POST", "populations", json={"name": "p", "description": "d"})).body
        assert described["description"] == "d"


async def test_an_application_names_its_client_id_key_rotation_policy_and_metadata() -> None:
    """Applications OIDC settings data model: ``clientId`` (the id), ``signing.keyRotationPolicy.id``; "Key Rotation Policies":
    an environment has a default one."""
    async with calling() as call:
        first = (await call("POST", "applications", json=APPLICATION)).body
        second = (await call("POST", "applications", json=APPLICATION)).body
        assert first["clientId"] == first["id"]
        assert first["signing"] == second["signing"]
        assert first["signing"]["keyRotationPolicy"]["id"]
        own = {"keyRotationPolicy": {"id": "policy"}}
        third = (await call("POST", "applications", json=APPLICATION | {"signing": own})).body
        assert third["signing"] == own
        metadata = await call("GET", "", at=first["_links"]["metadata"]["href"])
        assert metadata.body["issuer"] == call.auth("as")


async def test_a_population_has_a_theme() -> None:
    """Populations data model: ``theme.id``; without one the environment's default applies."""
    async with calling() as call:
        first = (await call("POST", "populations", json={"name": "one"})).body
        second = (await call("POST", "populations", json={"name": "two", "theme": {"id": "mine"}})).body
        assert first["theme"]["id"]
        assert second["theme"] == {"id": "mine"}


async def test_the_default_population_can_be_another_one() -> None:
    """Populations data model, ``default``: only one population is the default, and receives users that name no population."""
    async with calling() as call:
        made = (await call("POST", "populations", json={"name": "new", "default": True})).body
        assert made["default"] is True
        rows = (await call("GET", "populations")).body["_embedded"]["populations"]
        assert [row["name"] for row in rows if row["default"]] == ["new"]
        assert call.emulator.audit()["existing_names"]["population"] == ["new"]
        user = (await call("POST", "users", json=USER)).body
        assert user["population"]["id"] == made["id"]
        before = next(row["id"] for row in rows if not row["default"])
        refused = await call("PUT", f"populations/{made['id']}", json={"name": "new", "default": False})
        assert (refused.status, refused.detail) == (400, "CONSTRAINT_VIOLATION")
        assert (await call("PUT", f"populations/{before}", json={"name": "Default", "default": True})).body["default"] is True
        assert (await call("GET", f"populations/{made['id']}")).body["default"] is False
        assert (await call("DELETE", f"users/{user['id']}")).status == 204
        assert (await call("DELETE", f"populations/{made['id']}")).status == 204


async def start_flow(call: Caller, tenant: Tenant) -> tuple[str, str | None]:
    """Address and cookie of a flow."""
    query = {"response_type": "code", "client_id": tenant.app, "redirect_uri": REDIRECT, "scope": "res:read"}
    answer = await call("GET", "", at=call.auth("as/authorize"), params=query)
    flow = parse_qs(urlsplit(answer.headers["Location"]).query)["flowId"][0]
    return call.auth(f"flows/{flow}"), answer.cookie


async def test_a_disabled_user_cannot_sign_on() -> None:
    """Users data model, ``enabled``: a disabled user cannot sign on; error code ``ACCOUNT_NOT_USABLE``."""
    async with calling() as call:
        tenant = await furnish(call)
        made = (await call("POST", "users", json=USER | {"enabled": False})).body
        assert (made["enabled"], made["account"]["canAuthenticate"]) == (False, False)
        assert (await call("PATCH", f"users/{tenant.user}", json={"enabled": False})).body["enabled"] is False
        flow, cookie = await start_flow(call, tenant)
        headers = {"Content-Type": CHECK, "Cookie": f"ST={cookie}"}
        answer = await call("POST", "", at=flow, json={"username": "token.user", "password": PASSWORD}, headers=headers)
        assert (answer.status, answer.detail) == (400, "ACCOUNT_NOT_USABLE")
        found = (await call("GET", "users", params={"filter": "enabled eq false"})).body["_embedded"]["users"]
        assert sorted(user["username"] for user in found) == ["token.user", "u"]


async def test_one_grant_one_scope_and_one_attribute_are_read() -> None:
    """``GET`` of ``applications/{a}/grants/{g}``, ``resources/{r}/scopes/{s}`` and ``resources/{r}/attributes/{t}``."""
    async with calling() as call:
        tenant = await furnish(call)
        for collection, name in (
            (f"applications/{tenant.app}/grants", "grants"),
            (f"resources/{tenant.resource}/scopes", "scopes"),
            (f"resources/{tenant.resource}/attributes", "attributes"),
        ):
            rows = (await call("GET", collection)).body["_embedded"][name]
            for row in rows:
                assert (await call("GET", f"{collection}/{row['id']}")).body == row
                assert row["_links"]["self"]["href"].endswith(f"{collection}/{row['id']}")
            assert (await call("GET", f"{collection}/nothing")).status == 404
        other = (await call("POST", "resources", json={"name": "other"})).body["id"]
        assert (await call("GET", f"resources/{other}/scopes/{tenant.scope}")).status == 404


async def test_put_of_an_application_resets_omitted_fields() -> None:
    """ "Update Application": PUT replaces; ``type`` and ``protocol`` are immutable."""
    async with calling() as call:
        made = (await call("POST", "applications", json=APPLICATION | {"description": "d", "parTimeout": 30})).body
        at = f"applications/{made['id']}"
        changed = await call("PUT", at, json=APPLICATION | {"name": "renamed", "redirectUris": ["https://other.example"]})
        assert changed.status == 200
        assert (changed.body["name"], changed.body["parTimeout"]) == ("renamed", 60)
        assert "description" not in changed.body
        assert changed.body["redirectUris"] == ["https://other.example"]
        assert changed.body["createdAt"] == made["createdAt"]
        assert changed.body["updatedAt"] >= made["updatedAt"]
        assert (await call("GET", at)).body == changed.body
        refused = await call("PUT", at, json=APPLICATION | {"type": "NATIVE_APP"})
        assert (refused.status, refused.detail) == (400, "INVALID_VALUE")
        assert (await call("PUT", at, json={"name": "x"})).detail == "REQUIRED_VALUE"
        assert (await call("PUT", "applications/nothing", json=APPLICATION)).status == 404


async def test_put_of_a_resource_resets_omitted_fields() -> None:
    """ "Update Resource": "Any property values not specified in the request body are cleared"; the lifetime is 3600 again."""
    async with calling() as call:
        fields = {"name": "r", "audience": "https://a.example", "description": "d", "accessTokenValiditySeconds": 900}
        made = (await call("POST", "resources", json=fields)).body
        await call("POST", "resources", json={"name": "taken"})
        at = f"resources/{made['id']}"
        claim = {"claimEnabled": True}
        changed = await call(
            "PUT", at, json={"name": "R", "audience": "https://b.example", "applicationPermissionsSettings": claim}
        )
        assert changed.status == 200
        assert "description" not in changed.body
        assert changed.body["accessTokenValiditySeconds"] == 3600
        assert changed.body["applicationPermissionsSettings"] == claim
        assert (await call("GET", at)).body == changed.body
        assert (await call("PUT", at, json={"name": "taken"})).detail == "UNIQUENESS_VIOLATION"


async def test_put_of_a_user_removes_omitted_fields_and_patch_does_not() -> None:
    """ "Update User": PUT "removes any existing attribute property values omitted"; PATCH "targets only those attribute values
    specified"."""
    async with calling() as call:
        tenant = await furnish(call)
        at = f"users/{tenant.user}"
        patched = (await call("PATCH", at, json={"email": "new@example.com", "externalId": "e", "name": {"given": "X"}})).body
        assert (patched["email"], patched["name"], patched["externalId"]) == (
            "new@example.com",
            {"given": "X", "family": "U"},
            "e",
        )
        found = (await call("GET", "users", params={"filter": 'externalId eq "e"'})).body["_embedded"]["users"]
        assert [user["id"] for user in found] == [tenant.user]
        replaced = await call("PUT", at, json={"username": "token.user", "email": "u@example.com"})
        assert replaced.status == 200
        assert replaced.body["name"] == {}
        assert "externalId" not in replaced.body
        assert replaced.body["population"]["id"] == tenant.population
        assert (await call("GET", f"{at}/password")).body["status"] == "OK"
        await call("POST", "users", json=USER)
        assert (await call("PATCH", at, json={"username": "U"})).detail == "UNIQUENESS_VIOLATION"
        assert (await call("PATCH", at, json={"enabled": "yes"})).detail == "INVALID_VALUE"


async def test_put_of_a_population_resets_omitted_fields() -> None:
    """ "Update Population": to unassign the policy or the theme, omit it."""
    async with calling() as call:
        fields = {"name": "p", "description": "d", "theme": {"id": "t"}, "passwordPolicy": {"id": "w"}}
        made = (await call("POST", "populations", json=fields)).body
        assert made["passwordPolicy"] == {"id": "w"}
        changed = (await call("PUT", f"populations/{made['id']}", json={"name": "q", "alternativeIdentifiers": ["a"]})).body
        assert (changed["name"], changed["alternativeIdentifiers"]) == ("q", ["a"])
        assert not {"description", "passwordPolicy"} & set(changed)
        assert changed["theme"] != {"id": "t"}


WRONG_TYPES: list[tuple[str, dict[str, Any], str]] = [
    ("applications", APPLICATION | {"description": 5}, "description"),
    ("applications", APPLICATION | {"hiddenFromAppPortal": "no"}, "hiddenFromAppPortal"),
    ("applications", APPLICATION | {"requestScopesForMultipleResourcesEnabled": 1}, "requestScopesForMultipleResourcesEnabled"),
    ("applications", APPLICATION | {"parTimeout": "60"}, "parTimeout"),
    ("applications", APPLICATION | {"parTimeout": 601}, "parTimeout"),
    ("applications", APPLICATION | {"parRequirement": "SOMETIMES"}, "parRequirement"),
    ("applications", APPLICATION | {"pkceEnforcement": []}, "pkceEnforcement"),
    ("applications", APPLICATION | {"redirectUris": [5]}, "redirectUris"),
    ("applications", APPLICATION | {"redirectUris": "https://a.example"}, "redirectUris"),
    ("applications", APPLICATION | {"redirectUris": ["https://[a"]}, "redirectUris"),
    ("applications", APPLICATION | {"postLogoutRedirectUris": {}}, "postLogoutRedirectUris"),
    ("applications", APPLICATION | {"grantTypes": [{}]}, "grantTypes"),
    ("applications", APPLICATION | {"signing": "RS256"}, "signing"),
    ("applications", APPLICATION | {"signing": {"keyRotationPolicy": {"id": 5}}}, "keyRotationPolicy.id"),
    ("applications", APPLICATION | {"accessControl": []}, "accessControl"),
    ("applications", APPLICATION | {"homePageUrl": 5}, "homePageUrl"),
    ("applications", APPLICATION | {"jwks": 5}, "jwks"),
    ("resources", {"name": "r", "description": []}, "description"),
    ("resources", {"name": "r", "audience": 5}, "audience"),
    ("resources", {"name": "r", "audience": "https://[a#b"}, "audience"),
    ("resources", {"name": "r", "accessTokenValiditySeconds": "900"}, "accessTokenValiditySeconds"),
    ("resources", {"name": "r", "accessTokenValiditySeconds": 1e300}, "accessTokenValiditySeconds"),
    ("resources", {"name": "r", "introspectEndpointAuthMethod": {}}, "introspectEndpointAuthMethod"),
    ("resources", {"name": "r", "applicationPermissionsSettings": True}, "applicationPermissionsSettings"),
    ("populations", {"name": "p", "default": "true"}, "default"),
    ("populations", {"name": "p", "description": {}}, "description"),
    ("populations", {"name": "p", "theme": "t"}, "theme"),
    ("populations", {"name": "p", "passwordPolicy": {}}, "passwordPolicy.id"),
    ("populations", {"name": "p", "alternativeIdentifiers": "a"}, "alternativeIdentifiers"),
    ("users", USER | {"enabled": "false"}, "enabled"),
    ("users", USER | {"mfaEnabled": 0}, "mfaEnabled"),
    ("users", USER | {"name": "T. User"}, "name"),
    ("users", USER | {"name": {"given": 5}}, "given"),
    ("users", USER | {"population": "p"}, "population"),
    ("users", USER | {"nickname": 5}, "nickname"),
]


@pytest.mark.parametrize(("path", "body", "target"), WRONG_TYPES, ids=lambda value: value if isinstance(value, str) else "")
async def test_an_optional_field_of_the_wrong_type_is_refused(path: str, body: dict[str, Any], target: str) -> None:
    """Error table: 400 ``INVALID_DATA``, with the field as the target of its detail."""
    async with calling() as call:
        answer = await call("POST", path, json=body)
        assert (answer.status, answer.body["code"]) == (400, "INVALID_DATA")
        assert answer.body["details"][0]["target"] == target
        assert not any(call.emulator.audit()["existing"].values())


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "1.5", "²", "9" * 5000])
async def test_a_limit_is_between_1_and_1000(limit: str) -> None:
    """User collection: ``limit`` is 1 to 1000."""
    async with calling() as call:
        assert (await call("GET", "users", params={"limit": "1000"})).status == 200
        answer = await call("GET", "users", params={"limit": limit})
    assert (answer.status, answer.detail) == (400, "INVALID_PARAMETER")


async def test_a_sign_on_policy_is_assigned_to_an_application_once() -> None:
    """Application Sign-on Policy Assignments: ``signOnPolicy.id`` and ``priority``; they are deleted with the application."""
    async with calling(default_policy="Multi_Factor") as call:
        rows = (await call("GET", "signOnPolicies")).body["_embedded"]["signOnPolicies"]
        assert [(row["name"], row["default"]) for row in rows] == [("Single_Factor", False), ("Multi_Factor", True)]
        assert (await call("GET", f"signOnPolicies/{rows[0]['id']}")).body == rows[0]
        assert (await call("GET", "signOnPolicies/nothing")).status == 404
        application = (await call("POST", "applications", json=APPLICATION)).body["id"]
        at = f"applications/{application}/signOnPolicyAssignments"
        wanted = {"signOnPolicy": {"id": rows[0]["id"]}, "priority": 1}
        made = await call("POST", at, json=wanted)
        assert (made.status, made.body["priority"], made.body["signOnPolicy"]) == (201, 1, {"id": rows[0]["id"]})
        assert (await call("POST", at, json=wanted | {"priority": 2})).detail == "UNIQUENESS_VIOLATION"
        assert (await call("POST", at, json=wanted | {"signOnPolicy": {"id": "nothing"}})).detail == "INVALID_VALUE"
        assert (await call("GET", at)).body["_embedded"]["signOnPolicyAssignments"] == [made.body]
        assert (await call("DELETE", f"{at}/{made.body['id']}")).status == 204
        assert (await call("POST", at, json=wanted)).status == 201
        await call("DELETE", f"applications/{application}")
        assert call.emulator.audit()["existing"]["sign_on_policy_assignment"] == 0
