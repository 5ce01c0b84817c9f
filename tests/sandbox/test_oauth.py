"""The sandbox's OAuth endpoints and flows follow the RFCs; each test quotes its rule."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
import pytest

from states.sandbox.calls import Answer, Call
from states.sandbox.responses import response
from tests.support.caller import CHECK, PASSWORD, REDIRECT, Caller, Tenant, assertion, calling, furnish, get_code
from tests.support.caller import Answer as Received


async def exchange(call: Caller, fields: dict[str, str], **more: Any) -> Received:
    """POST to the token endpoint, without the worker's bearer token."""
    headers = {"Authorization": ""} | more.pop("headers", {})
    return await call("POST", "", at=call.auth("as/token"), data=fields, headers=headers, **more)


def authorize_query(tenant: Tenant, **changes: str | None) -> dict[str, str]:
    """A valid request with some changes; ``None`` omits a parameter."""
    query = {"response_type": "code", "client_id": tenant.app, "redirect_uri": REDIRECT, "scope": "res:read", "state": "s"}
    return {name: value for name, value in (query | changes).items() if value is not None}


async def test_a_required_parameter_of_the_token_request_must_be_there() -> None:
    """RFC 6749 section 5.2: ``invalid_request``, "The request is missing a required parameter"; section 3.2: "Parameters sent
    without a value MUST be treated as if they were omitted"."""
    async with calling() as call:
        tenant = await furnish(call)
        code = await get_code(call, tenant)
        good = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT} | assertion(call, tenant)
        for missing in ("grant_type", "code", "redirect_uri"):
            without = {name: value for name, value in good.items() if name != missing}
            for fields in (without, without | {missing: ""}):
                answer = await exchange(call, fields)
                assert (answer.status, answer.body["error"]) == (400, "invalid_request"), missing
        assert (await exchange(call, good | {"code": "unknown"})).body["error"] == "invalid_grant"
        assert (await exchange(call, good)).status == 200


async def test_a_parameter_sent_twice_is_refused() -> None:
    """RFC 6749 sections 3.1 and 3.2: "parameters MUST NOT be included more than once"."""
    async with calling() as call:
        tenant = await furnish(call)
        code = await get_code(call, tenant)
        good = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT} | assertion(call, tenant)
        twice = [*good.items(), ("code", code)]
        for path, fields in (
            ("as/token", twice),
            ("as/introspect", [("token", "a"), ("token", "b"), *assertion(call, tenant).items()]),
        ):
            answer = await call("POST", "", at=call.auth(path), data=fields)
            assert (answer.status, answer.body["error"]) == (400, "invalid_request")
        query = [*authorize_query(tenant).items(), ("scope", "openid")]
        refused = await call("GET", "", at=call.auth("as/authorize"), params=query)
        assert parse_qs(urlsplit(refused.headers["Location"]).query)["error"] == ["invalid_request"]
        query = [*authorize_query(tenant).items(), ("redirect_uri", REDIRECT)]
        assert (await call("GET", "", at=call.auth("as/authorize"), params=query)).status == 400
        assert (await exchange(call, good)).status == 200


async def test_a_client_authenticates_in_one_way() -> None:
    """RFC 6749 section 2.3: "The client MUST NOT use more than one authentication method in each request"."""
    async with calling() as call:
        tenant = await furnish(call)
        basic = {"Authorization": aiohttp.encode_basic_auth(tenant.app, tenant.secret)}
        fields = {"grant_type": "authorization_code", "code": "x"}
        for more, headers in (
            (assertion(call, tenant), basic),
            ({"client_id": tenant.app, "client_secret": tenant.secret}, basic),
            (assertion(call, tenant) | {"client_secret": tenant.secret}, {}),
        ):
            answer = await exchange(call, fields | more, headers=headers)
            assert (answer.status, answer.body["error"]) == (400, "invalid_request")
        answer = await call(
            "POST", "", at=call.auth("as/introspect"), data={"token": "x"} | assertion(call, tenant), headers=basic
        )
        assert (answer.status, answer.body["error"]) == (400, "invalid_request")
        environment = call.emulator.environment
        worker = {"Authorization": aiohttp.encode_basic_auth(environment.worker_id, environment.worker_secret)}
        answer = await exchange(
            call, {"grant_type": "client_credentials", "client_secret": environment.worker_secret}, headers=worker
        )
        assert (answer.status, answer.body["error"]) == (400, "invalid_request")


async def test_introspection_wants_a_token() -> None:
    """RFC 7662 section 2.1: ``token`` is REQUIRED; section 2.3: errors are those of RFC 6749 section 5.2."""
    async with calling() as call:
        tenant = await furnish(call)
        at = call.auth("as/introspect")
        for fields in ({}, {"token": ""}):
            answer = await call("POST", "", at=at, data=fields | assertion(call, tenant, aud=at))
            assert (answer.status, answer.body["error"]) == (400, "invalid_request")
        assert (await call("POST", "", at=at, data={})).status == 401
        answer = await call("POST", "", at=at, data={"token": "x"} | assertion(call, tenant, aud=at))
        assert answer.body == {"active": False}


async def test_authorize_wants_a_response_type() -> None:
    """RFC 6749 section 4.1.2.1: a missing parameter is ``invalid_request``; a type that is not supported is
    ``unsupported_response_type``."""
    async with calling() as call:
        tenant = await furnish(call)
        for value, error in ((None, "invalid_request"), ("", "invalid_request"), ("id_token", "unsupported_response_type")):
            answer = await call("GET", "", at=call.auth("as/authorize"), params=authorize_query(tenant, response_type=value))
            query = parse_qs(urlsplit(answer.headers["Location"]).query)
            assert (query["error"], query["state"]) == ([error], ["s"])


async def test_a_flow_belongs_to_the_client_with_its_cookie() -> None:
    """Flows: without the cookie 401 ``ACCESS_FAILED``, detail ``INVALID_TOKEN``, target "Authentication Credentials"."""
    async with calling() as call:
        tenant = await furnish(call)
        begun = await call("GET", "", at=call.auth("as/authorize"), params=authorize_query(tenant))
        flow = call.auth("flows/" + parse_qs(urlsplit(begun.headers["Location"]).query)["flowId"][0])
        credentials = {"json": {"username": "token.user", "password": PASSWORD}}
        for cookie in ("", "ST=another"):
            headers = {"Cookie": cookie}
            read = await call("GET", "", at=flow, headers=headers)
            checked = await call("POST", "", at=flow, headers=headers | {"Content-Type": CHECK}, **credentials)
            for answer in (read, checked):
                assert (answer.status, answer.body["code"], answer.detail) == (401, "ACCESS_FAILED", "INVALID_TOKEN")
                assert answer.body["details"][0]["target"] == "Authentication Credentials"
        headers = {"Cookie": f"ST={begun.cookie}"}
        assert (await call("GET", "", at=flow, headers=headers)).body["status"] == "USERNAME_PASSWORD_REQUIRED"
        done = await call("POST", "", at=flow, headers=headers | {"Content-Type": CHECK}, **credentials)
        assert done.body["status"] == "COMPLETED"
        headers = {"Cookie": f"ST={done.cookie}"}
        assert (await call("GET", "", at=flow, headers=headers)).body["status"] == "COMPLETED"


async def test_a_flow_that_has_set_no_cookie_yet_wants_none() -> None:
    """A setting: only the credential POST sets ``ST``."""
    async with calling(cookies_at_authorize=False) as call:
        tenant = await furnish(call)
        begun = await call("GET", "", at=call.auth("as/authorize"), params=authorize_query(tenant))
        assert begun.cookie is None
        flow = call.auth("flows/" + parse_qs(urlsplit(begun.headers["Location"]).query)["flowId"][0])
        assert (await call("GET", "", at=flow)).status == 200


async def test_the_token_of_the_worker_is_a_jwt() -> None:
    """ "Access tokens": self-contained JWTs, signed by a key of the JWKS; a worker's names no scope and no user."""
    async with calling(worker_token_lifetime_s=600) as call:
        keys = jwt.PyJWKSet.from_dict((await call("GET", "", at=call.auth("as/jwks"))).body)
        key = keys[jwt.get_unverified_header(call.token)["kid"]]
        claims = jwt.decode(call.token, key, algorithms=["RS256"], audience="https://api.pingone.com", issuer=call.auth("as"))
        environment = call.emulator.environment
        assert (claims["client_id"], claims["env"]) == (environment.worker_id, environment.id)
        assert claims["exp"] - claims["iat"] == 600
        assert not {"scope", "sub"} & set(claims)
        first = call.token
        await call.sign_in()
        assert call.token != first


async def test_tokens_of_others_do_not_open_the_management_api() -> None:
    async with calling() as call:
        tenant = await furnish(call)
        code = await get_code(call, tenant)
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT} | assertion(call, tenant)
        token = (await exchange(call, fields)).body["access_token"]
        for bearer in (token, call.token + "x", call.token[:-8]):
            assert (await call("GET", "users", headers={"Authorization": f"Bearer {bearer}"})).detail == "INVALID_TOKEN"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_session_cookie_is_that_of_the_vendor(scheme: str) -> None:
    """``Path=/{env}; Max-Age=2592000; Expires=…; Secure; HttpOnly; SameSite=None``; plain HTTP drops ``Secure``, and with it
    ``SameSite=None``, which RFC 6265bis section 5.7 allows with ``Secure`` only."""
    async with calling() as call:
        environment = call.emulator.environment
        request = Call(
            method="GET",
            base=f"{scheme}://auth.example",
            ids={"environment": environment.id},
            query={},
            headers={},
            cookies={},
            body=b"",
            correlation_id="c",
        )
        jar: SimpleCookie = response(Answer(cookie="value"), request, environment).cookies
        cookie = jar["ST"]
        assert (cookie.value, cookie["path"], cookie["max-age"], cookie["httponly"]) == (
            "value",
            f"/{environment.id}",
            "2592000",
            True,
        )
        assert (bool(cookie["secure"]), cookie["samesite"]) == ((True, "None") if scheme == "https" else (False, "Lax"))
        ahead = parsedate_to_datetime(cookie["expires"]) - datetime.now(UTC)
        assert 29 <= ahead.days <= 30


async def finish(call: Caller, tenant: Tenant, **query: str) -> tuple[Received, str]:
    """From authorize to resume. Returns the response to resume, with its text."""
    begun = await call("GET", "", at=call.auth("as/authorize"), params=authorize_query(tenant, **query))
    flow = parse_qs(urlsplit(begun.headers["Location"]).query)["flowId"][0]
    headers = {"Content-Type": CHECK, "Cookie": f"ST={begun.cookie}"}
    done = await call(
        "POST", "", at=call.auth(f"flows/{flow}"), json={"username": "token.user", "password": PASSWORD}, headers=headers
    )
    at, headers = call.auth("as/resume"), {"Cookie": f"ST={done.cookie}"}
    async with call.http.get(at, params={"flowId": flow}, headers=headers, allow_redirects=False) as answer:
        return Received(answer.status, {}, answer.headers, None), await answer.text()


async def test_the_response_mode_fragment() -> None:
    """OAuth 2.0 Multiple Response Type Encoding Practices, section 2.1: parameters are "encoded in the fragment"."""
    async with calling() as call:
        tenant = await furnish(call)
        answer, _ = await finish(call, tenant, response_mode="fragment")
        uri = urlsplit(answer.headers["Location"])
        assert uri.query == ""
        assert {name: values[0] for name, values in parse_qs(uri.fragment).items()}.keys() == {"code", "state"}
        query = authorize_query(tenant, response_mode="fragment", scope="nothing")
        refused = await call("GET", "", at=call.auth("as/authorize"), params=query)
        assert parse_qs(urlsplit(refused.headers["Location"]).fragment)["error"] == ["invalid_scope"]


async def test_the_response_mode_form_post() -> None:
    """OAuth 2.0 Form Post Response Mode, section 2: "encoded as HTML form values that are auto-submitted"."""
    async with calling() as call:
        tenant = await furnish(call)
        state = "\"><script>alert('s')</script>"
        answer, page = await finish(call, tenant, response_mode="form_post", state=state)
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, "text/html")
        assert f'<form method="post" action="{REDIRECT}">' in page
        fields = {
            html.unescape(name): html.unescape(value) for name, value in re.findall(r'name="([^"]*)" value="([^"]*)"', page)
        }
        assert fields.keys() == {"code", "state"}
        assert fields["state"] == state
        assert "submit()" in page
        form = {"grant_type": "authorization_code", "code": fields["code"], "redirect_uri": REDIRECT} | assertion(call, tenant)
        assert (await exchange(call, form)).status == 200
        query = authorize_query(tenant, response_mode="form_post", scope="nothing")
        async with call.http.get(call.auth("as/authorize"), params=query) as refused:
            assert 'value="invalid_scope"' in await refused.text()


async def test_discovery_names_the_response_modes() -> None:
    """OpenID Connect Discovery 1.0, section 3: ``response_modes_supported``."""
    async with calling() as call:
        metadata = (await call("GET", "", at=call.auth("as/.well-known/openid-configuration"))).body
        assert metadata["response_modes_supported"] == ["query", "fragment", "form_post", "pi.flow"]
