"""The sandbox answers any request as the vendor would: with a 4xx in the vendor's form or a success, never a 5xx."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import anyio
import attrs
import pytest

from states.sandbox.routes import MANAGEMENT, SIGN_ON
from tests.support.caller import APPLICATION, CHECK, PASSWORD, PASSWORD_SET, REDIRECT, Caller, Tenant, assertion, calling, furnish

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "create_application": (JSON, APPLICATION),
    "update_application": (JSON, APPLICATION),
    "create_grant": (JSON, {"resource": {"id": "RESOURCE"}, "scopes": [{"id": "SCOPE"}]}),
    "assign_policy": (JSON, {"signOnPolicy": {"id": "POLICY"}, "priority": 2}),
    "create_resource": (JSON, {"name": "r2", "audience": "https://a.example", "accessTokenValiditySeconds": 900}),
    "update_resource": (JSON, {"name": "r3", "audience": "https://a.example"}),
    "create_scope": (JSON, {"name": "s2", "description": "d"}),
    "create_attribute": (JSON, {"name": "a2", "value": "${user.id}"}),
    "create_population": (JSON, {"name": "p2", "default": False, "theme": {"id": "t"}}),
    "update_population": (JSON, {"name": "p3", "description": "d"}),
    "create_user": (JSON, {"username": "u2", "email": "a@b.cd", "name": {"given": "A"}, "population": {"id": "POPULATION"}}),
    "update_user": (JSON, {"username": "u3", "email": "a@b.cd", "enabled": True}),
    "set_password": (PASSWORD_SET, {"value": "3Federate!Now", "forceChange": False}),
    "check_credentials": (CHECK, {"username": "token.user", "password": PASSWORD}),
}
"""Operation → a valid body."""
WRONG_VALUES: list[Any] = [
    5,
    -1,
    1e300,
    10**400,
    True,
    None,
    "",
    " ",
    "\x00",
    "x" * 5000,
    [],
    [[]],
    [5],
    {},
    {"id": 5},
    {"a": {"b": []}},
]
OAUTH = (("POST", "as/token"), ("POST", "as/introspect"), ("GET", "as/userinfo"), ("POST", "as/userinfo"), ("GET", "as/jwks"))
SEED = 11
ROUNDS = 600


def in_vendor_form(path: str, status: int, body: Any) -> bool:
    """Errors of the management and flow APIs have ``id``, ``code`` and ``message``; those of OAuth ``error``."""
    if status < 400:
        return True
    return status < 500 and isinstance(body, dict) and ({"id", "code", "message"} <= set(body) or "error" in body)


@attrs.frozen
class Furnished:
    """A sandbox with one of everything, and a flow that waits for credentials."""

    call: Caller
    tenant: Tenant
    ids: dict[str, str]
    cookie: str

    def path(self, pattern: str, **changes: str) -> str:
        return pattern.format(**self.ids | changes)

    def body(self, operation: str) -> tuple[str, dict[str, Any]]:
        media_type, body = BODIES[operation]
        text = json.dumps(body)
        for name, value in (
            ("RESOURCE", self.tenant.resource),
            ("SCOPE", self.tenant.scope),
            ("POPULATION", self.tenant.population),
            ("POLICY", self.ids["policy"]),
        ):
            text = text.replace(name, value)
        return media_type, json.loads(text)

    def at(self, path: str, *, management: bool) -> str:
        environment = self.call.emulator.environment.id
        prefix = f"v1/environments/{environment}" if management else environment
        return f"{self.call.emulator.url}/{prefix}/{path}".rstrip("/")

    async def send(self, method: str, at: str, **more: Any) -> tuple[int, Any, Any]:
        """Return status, body and headers, after a check of the vendor's form."""
        headers = {"Authorization": f"Bearer {self.call.token}", "Cookie": f"ST={self.cookie}"} | more.pop("headers", {})
        async with self.call.http.request(method, at, headers=headers, allow_redirects=False, **more) as answer:
            text = await answer.text()
            body = json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text
            page = isinstance(body, str) and answer.headers.get("Content-Type", "").startswith("text/html")
            assert in_vendor_form(at, answer.status, {"error": ""} if page else body), (method, at, answer.status, text[:300])
            return answer.status, body, answer.headers


@asynccontextmanager
async def furnished() -> AsyncIterator[Furnished]:
    async with calling(page_size=2) as call:
        tenant = await furnish(call)
        grant = (await call("GET", f"applications/{tenant.app}/grants")).body["_embedded"]["grants"][0]["id"]
        rows = (await call("GET", f"resources/{tenant.resource}/attributes")).body["_embedded"]["attributes"]
        policies = (await call("GET", "signOnPolicies")).body["_embedded"]["signOnPolicies"]
        first, other = (row["id"] for row in sorted(policies, key=lambda row: not row["default"]))
        assigned = {"signOnPolicy": {"id": first}, "priority": 1}
        assignment = (await call("POST", f"applications/{tenant.app}/signOnPolicyAssignments", json=assigned)).body["id"]
        query = {"response_type": "code", "client_id": tenant.app, "response_mode": "pi.flow", "scope": "res:read"}
        flow = await call("GET", "", at=call.auth("as/authorize"), params=query)
        ids = {
            "application": tenant.app,
            "grant": grant,
            "assignment": assignment,
            "policy": other,
            "resource": tenant.resource,
            "scope": tenant.scope,
            "attribute": rows[1]["id"],
            "population": tenant.population,
            "user": tenant.user,
            "flow": flow.body["id"],
        }
        yield Furnished(call, tenant, ids, str(flow.cookie))


async def test_every_management_route_wants_the_worker_its_environment_and_known_ids() -> None:
    """401 ``ACCESS_FAILED`` without a token, 403 for another environment, 404 ``NOT_FOUND`` for an unknown id."""
    async with furnished() as sandbox:
        for method, pattern, operation, _ in MANAGEMENT:
            more: dict[str, Any] = {}
            if operation in BODIES:
                media_type, body = sandbox.body(operation)
                more = {"data": json.dumps(body), "headers": {"Content-Type": media_type}}
            at = sandbox.at(sandbox.path(pattern), management=True)
            for credentials in ("", "Bearer", "Bearer x", "Basic eDp5", "Digest x"):
                headers = more.get("headers", {}) | {"Authorization": credentials}
                status, answer, sent = await sandbox.send(method, at, **more | {"headers": headers})
                assert (status, answer["code"]) == (401, "ACCESS_FAILED")
                assert sent["WWW-Authenticate"].startswith("Bearer")
            elsewhere = at.replace(sandbox.call.emulator.environment.id, "another")
            assert (await sandbox.send(method, elsewhere, **more))[0] == 403
            for name in sandbox.ids:
                if f"{{{name}}}" in pattern:
                    unknown = sandbox.at(sandbox.path(pattern, **{name: "unknown"}), management=True)
                    status, answer, _ = await sandbox.send(method, unknown, **more)
                    assert (status, answer["code"]) == (404, "NOT_FOUND")


async def test_every_body_has_its_media_type_and_is_a_json_object() -> None:
    """415 ``INVALID_REQUEST`` for another type, 400 ``INVALID_REQUEST`` for a body other than a JSON object."""
    async with furnished() as sandbox:
        for method, pattern, operation, _ in (*MANAGEMENT, *SIGN_ON):
            if operation not in BODIES:
                continue
            media_type, _ = BODIES[operation]
            at = sandbox.at(sandbox.path(pattern), management=operation != "check_credentials")
            for wrong in ("", "text/plain", "application/xml", FORM, "application/json-patch+json", "\u00e9/\u00e9"):
                status, answer, _ = await sandbox.send(method, at, data=b"{}", headers={"Content-Type": wrong})
                assert (status, answer["code"]) == (415, "INVALID_REQUEST"), (operation, wrong)
            for text in (b"", b"{", b"[]", b"5", b"null", b'"x"', b"\xff", b'{"a": "\\ud800"}', b"[" * 2000, b'{"a": NaN}'):
                status, answer, _ = await sandbox.send(method, at, data=text, headers={"Content-Type": media_type})
                assert (status, answer["code"]) == (400, "INVALID_REQUEST"), (operation, text[:20])


def wrong_bodies(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The body without a field, and with a wrong value in each place."""
    for name, good in body.items():
        yield name, {other: value for other, value in body.items() if other != name}
        for wrong in WRONG_VALUES:
            yield name, body | {name: wrong}
        if isinstance(good, dict):
            for _, inner in wrong_bodies(good):
                yield name, body | {name: inner}


@pytest.mark.parametrize("operation", list(BODIES))
async def test_a_body_with_wrong_values_is_taken_or_refused_in_form(operation: str) -> None:
    async with furnished() as sandbox:
        method, pattern = next((row[0], row[1]) for row in (*MANAGEMENT, *SIGN_ON) if row[2] == operation)
        media_type, body = sandbox.body(operation)
        at = sandbox.at(sandbox.path(pattern), management=operation != "check_credentials")
        refused = 0
        for name, wrong in wrong_bodies(body):
            data = json.dumps(wrong).encode()
            status, _, _ = await sandbox.send(method, at, data=data, headers={"Content-Type": media_type})
            refused += status == 400
            assert status in (200, 201, 400), (name, wrong)
        assert refused > len(body)


async def test_methods_that_a_route_does_not_have_are_405() -> None:
    async with furnished() as sandbox:
        known: dict[str, set[str]] = {}
        for method, pattern, _, _ in MANAGEMENT:
            known.setdefault(pattern, set()).add(method)
        for pattern, methods in known.items():
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
                at = sandbox.at(sandbox.path(pattern), management=True)
                status, answer, sent = await sandbox.send(method, at, json={})
                assert (status, answer["code"]) == (405, "METHOD_NOT_ALLOWED")
                assert methods <= set(sent["Allow"].split(", "))


async def test_a_body_that_is_too_large_is_413_in_form() -> None:
    async with furnished() as sandbox:
        at = sandbox.at("users", management=True)
        status, answer, _ = await sandbox.send("POST", at, data=io.BytesIO(b" " * (2 << 20)), headers={"Content-Type": JSON})
        assert (status, answer["code"]) == (413, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Type: \xff/\xfe\r\n", 415),
        (b"Content-Type: application/json\r\nContent-Encoding: gzip\r\n", 400),
        (b"Authorization: Basic \xff\r\n", 401),
    ],
)
async def test_bytes_that_no_client_sends_are_refused_in_form(headers: bytes, status: int) -> None:
    async with furnished() as sandbox:
        at = urlsplit(sandbox.at("users", management=True))
        token = b"" if b"Authorization" in headers else f"Authorization: Bearer {sandbox.call.token}\r\n".encode()
        stream = await anyio.connect_tcp("127.0.0.1", at.port or 0)
        async with stream:
            head = f"POST {at.path} HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n".encode()
            await stream.send(head + b"Host: \xff\r\n" + token + headers + b"\r\n{}")
            answer = b""
            with anyio.fail_after(30), contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    answer += await stream.receive()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert {"id", "code", "message"} <= set(json.loads(body))


class Nonsense:
    """Seeded requests that are partly right."""

    def __init__(self, sandbox: Furnished, seed: int) -> None:
        self.sandbox = sandbox
        self.rng = Random(seed)

    def text(self) -> str:
        letters = "ab:{}[]\"'\\%&=+/?#;, \t<>\x7f\u00e9\u20ac\U0001f600"
        return "".join(self.rng.choice(letters) for _ in range(self.rng.choice((0, 1, 3, 40))))

    def value(self, depth: int = 2) -> Any:
        kind = self.rng.randrange(9)
        if kind < 2 and depth:
            return {self.text(): self.value(depth - 1) for _ in range(2)}
        if kind == 2 and depth:
            return [self.value(depth - 1) for _ in range(2)]
        return self.rng.choice((*WRONG_VALUES, self.text(), *self.sandbox.ids.values()))

    def fields(self) -> list[tuple[str, str]]:
        good = {
            "grant_type": "authorization_code",
            "code": "x",
            "redirect_uri": REDIRECT,
            "scope": "res:read openid",
            "token": self.sandbox.call.token,
            "access_token": self.sandbox.call.token,
            "client_id": self.sandbox.tenant.app,
            "client_secret": self.sandbox.tenant.secret,
            "response_type": "code",
            "response_mode": self.rng.choice(("query", "fragment", "form_post", "pi.flow")),
            "flowId": self.sandbox.ids["flow"],
            "error": "e",
            "username": "token.user",
            "password": "wrong",
            "prompt": "none",
            "max_age": "1",
            "code_challenge": "c" * 43,
            "code_challenge_method": "S256",
            "filter": 'username eq "token.user"',
            "limit": "1",
            "cursor": "bzE",
            **assertion(self.sandbox.call, self.sandbox.tenant),
        }
        names = self.rng.sample(list(good), self.rng.randrange(len(good)))
        wrong = {name for name in names if self.rng.random() < 0.3}
        return [(name, self.text() if name in wrong else good[name]) for name in names]

    def authorization(self) -> str:
        pair = self.rng.choice((f"{self.sandbox.tenant.app}:{self.sandbox.tenant.secret}", self.text(), "a:b"))
        basic = base64.b64encode(pair.encode()).decode()
        return self.rng.choice(
            (f"Basic {basic}", f"Bearer {self.sandbox.call.token}", "Basic \u00e9", "Bearer \u00e9", "Basic", "")
        )

    def request(self) -> tuple[str, str, dict[str, Any]]:
        if self.rng.random() < 0.5:
            method, pattern, operation, _ = self.rng.choice(MANAGEMENT)
            at = self.sandbox.at(self.sandbox.path(pattern), management=True)
        else:
            routes = [*((row[0], row[1], row[2]) for row in SIGN_ON), *((method, path, "") for method, path in OAUTH)]
            method, pattern, operation = self.rng.choice(routes)
            at = self.sandbox.at(self.sandbox.path(pattern), management=False)
        headers = {"Authorization": self.authorization()} if self.rng.random() < 0.7 else {}
        if self.rng.random() < 0.2:
            headers["Cookie"] = f"ST={self.rng.choice((self.sandbox.cookie, 'x', ''))}"
        more: dict[str, Any] = {"headers": headers}
        if method == "DELETE":
            return "GET", at, more
        if method == "GET" or self.rng.random() < 0.2:
            more["params"] = self.fields()
        elif operation in BODIES and self.rng.random() < 0.8:
            media_type, body = self.sandbox.body(operation)
            for name in self.rng.sample(list(body), self.rng.randrange(len(body) + 1)):
                body[name] = self.value()
            more |= {"data": json.dumps(body).encode(), "headers": headers | {"Content-Type": media_type}}
        else:
            more["data"] = self.fields()
        return method, at, more


async def test_nonsense_is_never_answered_with_a_5xx() -> None:
    """A bounded number of seeded requests, each of them partly right."""
    async with furnished() as sandbox:
        nonsense, statuses = Nonsense(sandbox, SEED), set()
        for _ in range(ROUNDS):
            method, at, more = nonsense.request()
            try:
                statuses.add((await sandbox.send(method, at, **more))[0])
            except aiohttp.InvalidURL:
                continue
        assert {200, 302, 400, 401} <= statuses
