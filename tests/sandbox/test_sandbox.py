"""The sandbox follows the rules of PingOne; each test quotes its rule."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from states.pingone.assertion import jwks, new_private_key
from states.sandbox import OPERATIONS, AuthorizeError, parse_faults
from states.sandbox.expressions import check, evaluate
from states.sandbox.filters import FilterError, parse
from states.sandbox.passwords import unsatisfied
from states.sandbox.settings import SandboxSettings, parse_settings
from tests.support.caller import (
    APPLICATION,
    CHECK,
    PASSWORD,
    PASSWORD_SET,
    REDIRECT,
    Answer,
    Moving,
    assertion,
    calling,
    furnish,
    get_code,
)
from tests.support.tenant import sandbox, signing_key

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
async def test_what_the_management_api_refuses(rule: str) -> None:
    method, path, request, status, detail = REFUSED[rule]
    async with calling() as call:
        answer = await call(method, path, **request)
    assert (answer.status, answer.detail) == (status, detail)
    assert answer.body["id"] == answer.headers["Correlation-Id"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("list-delay-s=0.5", 0.5),
        ("page_size=7", 7),
        ("existing_id=false", False),
        ("seed=3", 3),
        ("authorize_errors=body", AuthorizeError.BODY),
    ],
)
def test_a_setting_is_read_as_what_it_is(text: str, value: object) -> None:
    ((name, found),) = parse_settings([text]).items()
    assert (found, getattr(SandboxSettings(**{name: found}), name)) == (value, value)


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


async def test_names_are_unique_without_regard_to_case_and_name_who_has_them() -> None:
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


async def test_the_password_policy_and_its_history() -> None:
    assert unsatisfied(PASSWORD, (), ()) == []
    assert unsatisfied("short", (), ()) == ["length", "minCharacters", "minUniqueCharacters"][:2]
    assert "maxRepeatedCharacters" in unsatisfied("Aaaa1!bcdef", (), ())
    assert "excludesProfileData" in unsatisfied("Xtoken.user1!", ("token.user",), ())
    assert "excludesCommonlyUsed" in unsatisfied("Password1!", (), ())
    async with calling() as call:
        tenant = await furnish(call)
        again = await call(
            "PUT", f"users/{tenant.user}/password", json={"value": PASSWORD}, headers={"Content-Type": PASSWORD_SET}
        )
        assert again.body["details"][0]["innerError"]["unsatisfiedRequirements"] == ["history"]
        assert PASSWORD not in str(again.body)


async def test_five_wrong_passwords_lock_the_account() -> None:
    async with calling() as call:
        tenant = await furnish(call)
        parameters = {"response_type": "code", "client_id": tenant.app, "redirect_uri": REDIRECT, "scope": "res:read"}
        answer = await call("GET", "", at=call.auth("as/authorize"), params=parameters)
        flow = call.auth("flows/" + parse_qs(urlsplit(answer.headers["Location"]).query)["flowId"][0])

        async def attempt(password: str, media_type: str = CHECK, **headers: str) -> Answer:
            body = {"username": "token.user", "password": password}
            sent = {"Content-Type": media_type, "Cookie": f"ST={answer.cookie}", **headers}
            return await call("POST", "", at=flow, json=body, headers=sent)

        assert (await attempt(PASSWORD, "application/json")).status == 415
        assert (await attempt(PASSWORD, Accept="application/json")).status == 406
        for _ in range(5):
            assert (await attempt("wrong")).detail == "INVALID_CREDENTIALS"
        locked = await attempt(PASSWORD)
        assert locked.detail == "PASSWORD_LOCKED_OUT"
        assert locked.body["details"][0]["innerError"]["secondsUntilUnlock"] > 800


async def test_a_flow_without_its_cookie_is_not_resumed() -> None:
    async with calling() as call:
        tenant = await furnish(call)
        flow = call.emulator.environment.flows
        code = await get_code(call, tenant)
        assert len(code) == 36
        answer = await call("GET", "", at=call.auth("as/resume"), params={"flowId": next(iter(flow.rows))})
        assert "flowId=" in answer.headers["Location"]
        assert (await call("GET", "", at=call.auth("as/resume"), params={"flowId": "x"})).status == 404


async def test_a_live_session_skips_the_login_unless_the_request_wants_one() -> None:
    async with calling() as call:
        tenant = await furnish(call)
        await get_code(call, tenant)
        session = next(iter(call.emulator.environment.flows.rows.values())).cookie
        parameters = {
            "response_type": "code",
            "client_id": tenant.app,
            "redirect_uri": REDIRECT,
            "scope": "res:read",
            "state": "s1",
        }

        async def ask(cookie: str | None = session, **query: str) -> dict[str, list[str]]:
            headers = {"Cookie": f"ST={cookie}"} if cookie else {}
            answer = await call("GET", "", at=call.auth("as/authorize"), params=parameters | query, headers=headers)
            return parse_qs(urlsplit(answer.headers["Location"]).query)

        found = await ask()
        assert found["state"] == ["s1"]
        form = {"grant_type": "authorization_code", "code": found["code"][0], "redirect_uri": REDIRECT}
        token = await call("POST", "", at=call.auth("as/token"), data=form | assertion(call, tenant))
        assert token.status == 200
        assert "code" in await ask(prompt="none")
        assert "code" in await ask(max_age="3600")
        assert (await ask(prompt="none login"))["error"] == ["invalid_request"]
        assert (await ask(response_mode="telepathy"))["error"] == ["invalid_request"]
        assert (await ask(request="x"))["error"] == ["request_not_supported"]
        assert (await ask(request_uri="https://x.example"))["error"] == ["request_uri_not_supported"]
        assert "flowId" in await ask(prompt="login")
        assert "flowId" in await ask(max_age="0")
        assert "flowId" in await ask("another")
        assert (await ask(None, prompt="none"))["error"] == ["login_required"]
        body = (
            await call(
                "GET",
                "",
                at=call.auth("as/authorize"),
                params=parameters | {"response_mode": "pi.flow"},
                headers={"Cookie": f"ST={session}"},
            )
        ).body
        assert body["status"] == "COMPLETED"
        assert body["authorizeResponse"]["code"]
        await call("DELETE", f"users/{tenant.user}")
        assert "flowId" in await ask()


async def test_flows_and_codes_expire() -> None:
    async with calling(flow_lifetime_s=0) as call:
        tenant = await furnish(call)
        parameters = {"response_type": "code", "client_id": tenant.app, "redirect_uri": REDIRECT, "scope": "res:read"}
        answer = await call("GET", "", at=call.auth("as/authorize"), params=parameters)
        flow = parse_qs(urlsplit(answer.headers["Location"]).query)["flowId"][0]
        assert (await call("GET", "", at=call.auth(f"flows/{flow}"))).status == 404


WRONG_ASSERTIONS: dict[str, dict[str, Any]] = {
    "expired": {"exp": 1},
    "more than an hour ahead": {"exp": 9_999_999_999},
    "not valid yet": {"nbf": 9_999_999_999},
    "for another audience": {"aud": "https://example.com"},
    "about another subject": {"sub": "x"},
    "without an expiry": {"exp": None},
    "with an expiry that is no number": {"exp": "tomorrow"},
}


@pytest.mark.parametrize("case", list(WRONG_ASSERTIONS))
async def test_a_wrong_assertion_is_an_invalid_client(case: str) -> None:
    async with calling() as call:
        tenant = await furnish(call)
        form = {"grant_type": "authorization_code", "code": "x", **assertion(call, tenant, **WRONG_ASSERTIONS[case])}
        answer = await call("POST", "", at=call.auth("as/token"), data=form)
    assert (answer.status, answer.body["error"]) == (401, "invalid_client")
    assert "Correlation ID" in answer.body["error_description"]


@pytest.mark.parametrize("algorithm", ["RS256", "ES384"])
async def test_a_key_of_another_kind_is_an_invalid_client(algorithm: str) -> None:
    keys: dict[str, Any] = {"RS256": signing_key().private, "ES384": ec.generate_private_key(ec.SECP384R1())}
    registered = new_private_key()
    async with calling() as call:
        tenant = await furnish(call, "PRIVATE_KEY_JWT", jwks=jwks(registered, "k"))
        claims = {"iss": tenant.app, "sub": tenant.app, "aud": call.auth("as"), "exp": int(time.time()) + 300}
        form = assertion(call, tenant) | {
            "grant_type": "authorization_code",
            "client_assertion": jwt.encode(claims, keys[algorithm], algorithm=algorithm, headers={"kid": "k"}),
        }
        answer = await call("POST", "", at=call.auth("as/token"), data=form)
    assert (answer.status, answer.body["error"]) == (401, "invalid_client")


async def test_an_application_is_no_worker() -> None:
    async with calling() as call:
        tenant = await furnish(call, "CLIENT_SECRET_BASIC")
        form = {"grant_type": "client_credentials"}
        basic = {"Authorization": aiohttp.encode_basic_auth(tenant.app, tenant.secret)}
        answer = await call("POST", "", at=call.auth("as/token"), data=form, headers=basic)
        assert (answer.status, answer.body["error"]) == (400, "unauthorized_client")


async def test_the_time_of_the_sign_on_stays_that_of_the_sign_on() -> None:
    """OpenID Connect Core 1.0, section 2: a session that answers ``prompt=none`` later did not sign on again."""
    clock = Moving()
    async with calling(now=clock) as call:
        tenant = await furnish(call)
        first = await get_code(call, tenant)
        cookie = next(iter(call.emulator.environment.flows.rows.values())).cookie
        clock.ahead_s = 60
        parameters = {"response_type": "code", "client_id": tenant.app, "redirect_uri": REDIRECT, "scope": "res:read"}
        query = parameters | {"prompt": "none"}
        answer = await call("GET", "", at=call.auth("as/authorize"), params=query, headers={"Cookie": f"ST={cookie}"})
        second = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
        times = []
        for code in (first, second):
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT} | assertion(call, tenant)
            token = (await call("POST", "", at=call.auth("as/token"), data=form)).body["access_token"]
            times.append(jwt.decode(token, options={"verify_signature": False})["auth_time"])
    assert times[0] == times[1]


async def test_what_is_long_dead_is_forgotten() -> None:
    clock = Moving()
    async with calling(now=clock, user_count_delay_s=1.0) as call:
        tenant = await furnish(call)
        environment = call.emulator.environment
        for _ in range(3):
            await get_code(call, tenant)
        clock.ahead_s = 900
        await get_code(call, tenant)
        assert len(environment.flows.rows) == 4
        clock.ahead_s = 2000
        await get_code(call, tenant)
        assert (len(environment.flows.rows), len(environment.codes.rows)) == (2, 2)


async def test_an_error_keeps_the_query_of_the_redirect_uri() -> None:
    uri = f"{REDIRECT}/?tenant=7"
    async with calling() as call:
        tenant = await furnish(call, redirectUris=[uri])
        parameters = {"response_type": "code", "client_id": tenant.app, "redirect_uri": uri, "scope": "nothing"}
        answer = await call("GET", "", at=call.auth("as/authorize"), params=parameters)
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert (query["tenant"], query["error"]) == (["7"], ["invalid_scope"])


async def test_the_audit_counts_what_is_deleted_alone() -> None:
    async with calling() as call:
        tenant = await furnish(call)
        assert (await call("DELETE", f"resources/{tenant.resource}/scopes/{tenant.scope}")).status == 204
        assert call.emulator.audit()["deleted"] == {"scope": 1}


async def test_what_is_not_served_is_refused_as_the_vendor_does() -> None:
    async with calling() as call:
        answer = await call("PATCH", "users")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")
        assert {"Correlation-Id", "Cache-Control", "X-Frame-Options"} <= set(answer.headers)


async def test_a_code_works_once_for_its_client_and_redirect_uri() -> None:
    async with calling() as call:
        tenant = await furnish(call)
        code = await get_code(call, tenant)
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "scope": "res:read"}

        async def exchange(**changes: str) -> Answer:
            return await call("POST", "", at=call.auth("as/token"), data=form | assertion(call, tenant) | changes)

        assert (await exchange(redirect_uri="https://other.example")).body["error"] == "invalid_grant"
        assert (await exchange(grant_type="password")).body["error"] == "unsupported_grant_type"
        assert (await exchange(scope="res:read made:up")).body["error"] == "invalid_scope"
        first = await exchange()
        assert first.body["expires_in"] == 3600
        assert (await exchange()).body["error"] == "invalid_grant"
        basic = {"Authorization": "Basic " + base64.b64encode(f"{tenant.app}:{tenant.secret}".encode()).decode()}
        wrong = await call("POST", "", at=call.auth("as/token"), data=form, headers=basic)
        assert "Unsupported authentication method" in wrong.body["error_description"]

        token = first.body["access_token"]
        shown = await call("POST", "", at=call.auth("as/introspect"), data={"token": token, **assertion(call, tenant)})
        assert (shown.body["active"], shown.body["claim"]) == (True, "v")
        nothing = await call("POST", "", at=call.auth("as/introspect"), data={"token": "x", **assertion(call, tenant)})
        assert nothing.body == {"active": False}
        secret = (await call("GET", f"resources/{tenant.resource}/secret")).body["secret"]
        basic = {"Authorization": "Basic " + base64.b64encode(f"{tenant.resource}:{secret}".encode()).decode()}
        shown = await call("POST", "", at=call.auth("as/introspect"), data={"token": token}, headers=basic)
        assert shown.body["active"] is True


@pytest.mark.parametrize("style", list(AuthorizeError), ids=lambda style: style.value)
async def test_authorize_tells_errors_in_three_ways(style: AuthorizeError) -> None:
    async with calling(authorize_errors=style) as call:
        tenant = await furnish(call)
        parameters = {"response_type": "code", "client_id": tenant.app, "redirect_uri": REDIRECT, "scope": "nothing"}
        answer = await call("GET", "", at=call.auth("as/authorize"), params=parameters)
        if style is AuthorizeError.BODY:
            assert (answer.status, answer.body["error"]) == (400, "invalid_scope")
        else:
            assert "invalid_scope" in answer.headers["Location"]
        parameters["redirect_uri"] = "https://other.example"
        assert (await call("GET", "", at=call.auth("as/authorize"), params=parameters)).status == 400
        parameters["client_id"] = "x"
        assert (await call("GET", "", at=call.auth("as/authorize"), params=parameters)).status == 400


async def test_scopes_of_two_resources_are_refused() -> None:
    async with calling() as call:
        tenant = await furnish(call)
        other = (await call("POST", "resources", json={"name": "other"})).body["id"]
        scope = (await call("POST", f"resources/{other}/scopes", json={"name": "other:read"})).body["id"]
        await call("POST", f"applications/{tenant.app}/grants", json={"resource": {"id": other}, "scopes": [{"id": scope}]})
        second = await call(
            "POST", f"applications/{tenant.app}/grants", json={"resource": {"id": other}, "scopes": [{"id": scope}]}
        )
        assert second.detail == "UNIQUENESS_VIOLATION"
        parameters = {"response_type": "code", "client_id": tenant.app, "redirect_uri": REDIRECT, "scope": "res:read other:read"}
        answer = await call("GET", "", at=call.auth("as/authorize"), params=parameters)
        assert "May+not+request+scopes+for+multiple+resources" in answer.headers["Location"]


@pytest.mark.parametrize("method", ["CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST", "CLIENT_SECRET_JWT"])
async def test_a_plain_oidc_client_that_knows_nothing_of_us_can_sign_on(method: str) -> None:
    """Discovery, the hosted page, code, tokens, JWKS and userinfo, as any relying party would use them."""
    async with calling() as call:
        tenant = await furnish(call, method)
        metadata = (await call("GET", "", at=call.auth("as/.well-known/openid-configuration"))).body
        assert method.lower() in metadata["token_endpoint_auth_methods_supported"]
        query = {
            "response_type": "code",
            "client_id": tenant.app,
            "redirect_uri": REDIRECT,
            "scope": "openid email",
            "nonce": "n",
            "state": "s",
        }
        begun = await call("GET", "", at=metadata["authorization_endpoint"], params=query)
        page = begun.headers["Location"]
        async with call.http.get(page) as shown:
            assert "<form" in await shown.text()
        wrong = await call("POST", "", at=page, data={"username": "token.user", "password": "wrong"})
        assert wrong.status == 400
        signed_on = await call("POST", "", at=page, data={"username": "token.user", "password": PASSWORD})
        back = await call("GET", "", at=signed_on.headers["Location"], headers={"Cookie": f"ST={signed_on.cookie}"})
        answer = parse_qs(urlsplit(back.headers["Location"]).query)
        assert answer["state"] == ["s"]
        form = {"grant_type": "authorization_code", "code": answer["code"][0], "redirect_uri": REDIRECT}
        headers = {"Authorization": ""}
        if method == "CLIENT_SECRET_BASIC":
            headers["Authorization"] = aiohttp.encode_basic_auth(tenant.app, tenant.secret)
        elif method == "CLIENT_SECRET_POST":
            form |= {"client_id": tenant.app, "client_secret": tenant.secret}
        else:
            form |= assertion(call, tenant)
        tokens = (await call("POST", "", at=metadata["token_endpoint"], data=form, headers=headers)).body
        keys = (await call("GET", "", at=metadata["jwks_uri"])).body
        key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(tokens["id_token"])["kid"]]
        identity = jwt.decode(tokens["id_token"], key, algorithms=["RS256"], audience=tenant.app, issuer=metadata["issuer"])
        assert (identity["nonce"], identity["email"]) == ("n", "u@example.com")
        user = await call(
            "GET", "", at=metadata["userinfo_endpoint"], headers={"Authorization": f"Bearer {tokens['access_token']}"}
        )
        assert user.body == {"sub": tenant.user, "email": "u@example.com"}
        nobody = await call("GET", "", at=metadata["userinfo_endpoint"], headers={"Authorization": "Bearer x"})
        assert (nobody.status, nobody.headers["WWW-Authenticate"]) == (401, 'Bearer realm="sandbox", error="invalid_token"')
        at = metadata["userinfo_endpoint"]
        posted = await call("POST", "", at=at, data={"access_token": tokens["access_token"]}, headers={"Authorization": ""})
        assert posted.body == user.body


async def test_a_wrong_worker_is_an_invalid_client() -> None:
    async with calling() as call:
        basic = {"Authorization": aiohttp.encode_basic_auth(call.emulator.environment.worker_id, "wrong")}
        answer = await call("POST", "", at=call.auth("as/token"), data={"grant_type": "client_credentials"}, headers=basic)
    assert (answer.status, answer.body["error"]) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="sandbox"'


async def test_a_fault_of_the_token_endpoint_is_worded_as_oauth_does() -> None:
    async with calling("token:400.invalid_grant*1") as call:
        answer = await call("POST", "", at=call.auth("as/token"), data={"grant_type": "authorization_code"})
    assert (answer.status, answer.body["error"]) == (400, "invalid_grant")


async def test_an_environment_holds_only_so_many_applications() -> None:
    async with calling(max_applications=1) as call:
        await call("POST", "applications", json=APPLICATION)
        assert (await call("POST", "applications", json=APPLICATION)).detail == "LICENSE_EXCEEDED"


async def test_a_seed_repeats_ids_and_credentials() -> None:
    async with sandbox(seed=4) as first, sandbox(seed=4) as second, sandbox(seed=5) as other:
        assert first.environment.worker_secret == second.environment.worker_secret
        assert first.environment.id != other.environment.id


FAULTS_REFUSED = ["create_user", "create_user:explode", "nothing:503", "create_user:503*", "create_user:99", "token:latency.SLOW"]


@pytest.mark.parametrize("text", FAULTS_REFUSED)
def test_a_fault_that_cannot_be_understood_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text.split(":", maxsplit=1)[0]):
        parse_faults(text, OPERATIONS)


def test_faults_are_read() -> None:
    faults = parse_faults("create_user:500_after*2, *:latency=0.5 token:429=3@5% *:429.QUOTA_EXCEEDED=1*1", OPERATIONS)
    assert [(f.operation, str(f), f.value, f.times, f.share) for f in faults] == [
        ("create_user", "500_after", None, 2, 1.0),
        ("*", "latency", 0.5, None, 1.0),
        ("token", "429", 3.0, None, 0.05),
        ("*", "429.QUOTA_EXCEEDED", 1.0, 1, 1.0),
    ]


async def test_when_to_come_again_is_told_as_the_vendor_tells_it() -> None:
    rules = "read_users:429.QUOTA_EXCEEDED=7*1 read_populations:503=7*1 read_resources:400.INVALID_FILTER*1"
    async with calling(rules) as call:
        limited, away = await call("GET", "users"), await call("GET", "populations")
        assert (limited.status, limited.headers["Retry-After"], limited.detail) == (429, "7", "QUOTA_EXCEEDED")
        assert away.status == 503
        ahead = parsedate_to_datetime(away.headers["Retry-After"]) - datetime.now(UTC)
        assert 5 < ahead.total_seconds() <= 8
        refused = await call("GET", "resources")
        assert "WWW-Authenticate" not in refused.headers
        assert (refused.status, refused.body["code"], refused.detail) == (400, "INVALID_DATA", "INVALID_FILTER")


def test_expressions_are_evaluated() -> None:
    context = {"requestData": {"clientAssertion": {"a": {"b": [1, True]}}, "clientAssertionHeader": None}}
    told = {"user": {"id": "u", "name": {"given": "G"}}, "context": context}
    assert evaluate("static", **told) == "static"
    assert evaluate("${user.name.given}", **told) == "G"
    assert evaluate("${#root.context.requestData.clientAssertion.a.b}", **told) == [1, True]
    assert evaluate("${#root.context.requestData.clientAssertion.nothing}", **told) is None
    assert evaluate("${#root.context.requestData.clientAssertionHeader.alg}", **told) is None
    assert check("${user.id}") is None
    assert check("a ${user.id}") is not None
    assert check("${env.x}") is not None


@pytest.mark.parametrize("text", ["", "name", "name eq", 'name gt "x"', '(name eq "x"', 'name eq "x" name', "name eq 'x'"])
def test_a_filter_that_cannot_be_used_says_why(text: str) -> None:
    with pytest.raises(FilterError):
        parse(text, ("name",))


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
