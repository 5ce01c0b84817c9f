"""Calls to a sandbox by a plain HTTP client, shared by the tests of the sandbox."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import attrs
import jwt

from states.sandbox import Sandbox
from tests.support.tenant import sandbox

PASSWORD = "2Federate!Now"
REDIRECT = "https://www.example.com"
APPLICATION = {
    "enabled": True,
    "name": "app",
    "type": "WEB_APP",
    "protocol": "OPENID_CONNECT",
    "grantTypes": ["AUTHORIZATION_CODE"],
    "responseTypes": ["CODE"],
    "redirectUris": [REDIRECT],
    "tokenEndpointAuthMethod": "CLIENT_SECRET_JWT",
}
CHECK = "application/vnd.pingidentity.usernamePassword.check+json"
PASSWORD_SET = "application/vnd.pingidentity.password.set+json"


@attrs.define
class Moving:
    """The real time, plus an offset."""

    ahead_s: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@attrs.frozen
class Answer:
    status: int
    body: dict[str, Any]
    headers: Any
    cookie: str | None

    @property
    def detail(self) -> str | None:
        details = self.body.get("details") or [{}]
        return details[0].get("code")


@attrs.define
class Caller:
    """Calls a sandbox as any HTTP client would."""

    emulator: Sandbox
    http: aiohttp.ClientSession
    token: str = ""

    async def __call__(self, method: str, path: str, *, at: str | None = None, **more: Any) -> Answer:
        environment = self.emulator.environment.id
        url = at or f"{self.emulator.url}/v1/environments/{environment}/{path}".rstrip("/")
        headers = {"Authorization": f"Bearer {self.token}"} | more.pop("headers", {})
        async with self.http.request(method, url, headers=headers, allow_redirects=False, **more) as answer:
            json = "json" in answer.headers.get("Content-Type", "")
            cookie = answer.cookies["ST"].value if "ST" in answer.cookies else None
            return Answer(answer.status, await answer.json() if json else {}, answer.headers, cookie)

    def auth(self, path: str) -> str:
        return f"{self.emulator.url}/{self.emulator.environment.id}/{path}"

    async def sign_in(self) -> None:
        """Get a worker token, with the authentication that the sandbox requires."""
        environment = self.emulator.environment
        form, headers = {"grant_type": "client_credentials"}, {"Authorization": ""}
        if environment.settings.worker_auth_method == "CLIENT_SECRET_POST":
            form |= {"client_id": environment.worker_id, "client_secret": environment.worker_secret}
        else:
            headers["Authorization"] = aiohttp.encode_basic_auth(environment.worker_id, environment.worker_secret)
        answer = await self("POST", "", at=self.auth("as/token"), data=form, headers=headers)
        assert answer.status == 200
        self.token = answer.body["access_token"]


@asynccontextmanager
async def calling(faults: str = "", **settings: Any) -> AsyncIterator[Caller]:
    jar = aiohttp.DummyCookieJar()
    async with sandbox(faults, **settings) as emulator, aiohttp.ClientSession(cookie_jar=jar) as http:
        caller = Caller(emulator, http)
        await caller.sign_in()
        yield caller


@attrs.frozen
class Tenant:
    app: str
    secret: str
    resource: str
    scope: str
    population: str
    user: str


async def furnish(call: Caller, method: str = "CLIENT_SECRET_JWT", **application: Any) -> Tenant:
    """Create one of everything, as steps 1 to 9 do."""
    app = (await call("POST", "applications", json=APPLICATION | {"tokenEndpointAuthMethod": method} | application)).body["id"]
    secret = (await call("GET", f"applications/{app}/secret")).body["secret"]
    resource = (await call("POST", "resources", json={"name": "res", "audience": "https://api.example.com"})).body["id"]
    scope = (await call("POST", f"resources/{resource}/scopes", json={"name": "res:read"})).body["id"]
    value = "${#root.context.requestData.clientAssertion.custom1}"
    await call("POST", f"resources/{resource}/attributes", json={"name": "claim", "value": value})
    await call("POST", f"applications/{app}/grants", json={"resource": {"id": resource}, "scopes": [{"id": scope}]})
    population = (await call("POST", "populations", json={"name": "pop"})).body["id"]
    user = (
        await call(
            "POST",
            "users",
            json={
                "username": "token.user",
                "email": "u@example.com",
                "name": {"given": "T", "family": "U"},
                "population": {"id": population},
            },
        )
    ).body["id"]
    answer = await call("PUT", f"users/{user}/password", json={"value": PASSWORD}, headers={"Content-Type": PASSWORD_SET})
    assert answer.body["status"] == "OK"
    return Tenant(app, secret, resource, scope, population, user)


async def get_code(call: Caller, tenant: Tenant, **query: str) -> str:
    """Steps 10 to 13."""
    parameters = {"response_type": "code", "client_id": tenant.app, "redirect_uri": REDIRECT, "scope": "res:read"} | query
    answer = await call("GET", "", at=call.auth("as/authorize"), params=parameters)
    flow = parse_qs(urlsplit(answer.headers["Location"]).query)["flowId"][0]
    answer = await call(
        "POST",
        "",
        at=call.auth(f"flows/{flow}"),
        json={"username": "token.user", "password": PASSWORD},
        headers={"Content-Type": CHECK, "Cookie": f"ST={answer.cookie}"},
    )
    assert answer.body["status"] == "COMPLETED"
    answer = await call("GET", "", at=call.auth("as/resume"), params={"flowId": flow}, headers={"Cookie": f"ST={answer.cookie}"})
    return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]


def assertion(call: Caller, tenant: Tenant, **changes: Any) -> dict[str, str]:
    now = int(time.time())
    base = call.auth("as")
    claims = {"iss": tenant.app, "sub": tenant.app, "aud": base, "exp": now + 300, "custom1": "v"} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return {
        "client_assertion": jwt.encode(claims, tenant.secret, algorithm="HS256"),
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }
