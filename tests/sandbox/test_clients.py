"""Clients authenticate, exchange codes and read tokens as the rules of PingOne say."""

from __future__ import annotations

import base64
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from states.pingone.assertion import jwks, new_private_key
from tests.support.caller import (
    PASSWORD,
    REDIRECT,
    Answer,
    Moving,
    assertion,
    calling,
    furnish,
    get_code,
)
from tests.support.tenant import signing_key

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


@pytest.mark.parametrize("method", ["CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST", "CLIENT_SECRET_JWT"])
async def test_a_plain_oidc_client_can_sign_on(method: str) -> None:
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
