"""Flows, sessions and the authorize endpoint follow the rules of PingOne."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from states.sandbox import AuthorizeError
from states.sandbox.passwords import unsatisfied
from tests.support.caller import (
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


async def test_expired_flows_and_codes_are_purged() -> None:
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
