"""The client: which answer means what, and what it never does. The network is faked at aiohttp's own edge."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from unittest.mock import Mock

import aiohttp
import anyio
import attrs
import jwt
import orjson
import pytest
from aioresponses import CallbackResult, aioresponses
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from orchestrator import (
    AmbiguousError,
    LeaseExpiredError,
    PermanentError,
    Secret,
    SettingError,
    StepError,
    SystemClock,
    ThrottledError,
    TransientError,
)
from states.http import transport
from states.http.errors import NoConnectionError
from states.http.reply import Reply
from states.http.request import Request
from states.pingone import PingOne, open_client, worker_token
from states.pingone.answers import (
    AccessError,
    AlreadyExistsError,
    ConstraintError,
    InvalidError,
    MissingError,
    RefusedGrantError,
    UnauthorizedError,
    is_id,
    refusal,
)
from states.pingone.assertion import HmacAlgorithm, jwks, new_private_key, sign
from states.pingone.management import Listing
from states.pingone.settings import PingOneSettings, Region
from states.pingone.tokens import ExpiredTokenError
from states.sandbox.passwords import unsatisfied
from states.token_fulfillment.context import new_password
from tests.support.tenant import sandbox, settings_for, signing_key

SETTINGS = PingOneSettings(client_id="worker", client_secret=Secret("worker-secret"), environment_id="env-1", region=Region.EU)
TOKEN = "https://auth.pingone.eu/env-1/as/token"
API = "https://api.pingone.eu/v1/environments/env-1"


class _Response(aiohttp.ClientResponse):
    """aioresponses does not know the writer that aiohttp 3.14 asks for."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"stream_writer": Mock(), **more})


@pytest.fixture
def http(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses]:
    monkeypatch.setattr(transport, "TESTED", "another")  # through aiohttp's session, which is what aioresponses stands in for
    with aioresponses() as fake:
        post = fake.add

        def add(*args: Any, **more: Any) -> None:
            post(*args, **{"response_class": _Response, **more})

        fake.add = add  # type: ignore[method-assign]
        fake.post(TOKEN, payload={"access_token": "token-1", "expires_in": 3600})
        yield fake


@asynccontextmanager
async def client(settings: PingOneSettings = SETTINGS, check_lease: Any = lambda: None) -> AsyncIterator[PingOne]:
    async with open_client(settings, SystemClock(), check_lease) as pingone:
        yield pingone


def sent(http: aioresponses, method: str, url: str) -> list[Any]:
    return [call for (verb, where), calls in http.requests.items() if verb == method and str(where) == url for call in calls]


def reply(status: int, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), body)


def detail(code: str, **inner: str) -> bytes:
    return orjson.dumps(
        {
            "id": "i",
            "code": "INVALID_DATA",
            "message": "m",
            "details": [{"code": code, "target": "name", "message": "d", "innerError": inner}],
        }
    )


ANSWERS: list[tuple[str, int, bytes, type[StepError]]] = [
    ("a duplicate, as 400", 400, detail("UNIQUENESS_VIOLATION"), AlreadyExistsError),
    ("a duplicate, as 409", 409, b"{}", AlreadyExistsError),
    ("a constraint", 400, detail("CONSTRAINT_VIOLATION"), ConstraintError),
    ("a wrong value", 400, detail("INVALID_VALUE"), InvalidError),
    ("a limit", 429, b'{"code": "REQUEST_LIMITED"}', ThrottledError),
    ("a limit under another number", 403, b'{"code": "REQUEST_LIMITED"}', ThrottledError),
    ("not there", 404, b'{"code": "NOT_FOUND"}', MissingError),
    ("no access", 403, detail("INSUFFICIENT_PERMISSIONS"), AccessError),
    ("a dead token", 401, detail("INVALID_TOKEN"), UnauthorizedError),
    ("a client that is not accepted", 401, b'{"error": "invalid_client"}', UnauthorizedError),
    ("a code that is spent", 400, b'{"error": "invalid_grant"}', RefusedGrantError),
    ("an unexpected error", 400, b'{"code": "UNEXPECTED_ERROR"}', AmbiguousError),
    ("500", 500, b"", AmbiguousError),
    ("502 of a proxy", 502, b"<html>", AmbiguousError),
    ("503", 503, b"{}", AmbiguousError),
    ("504", 504, b"{}", AmbiguousError),
    ("a time-out", 408, b"{}", AmbiguousError),
    ("not implemented", 501, b"{}", PermanentError),
    ("a body that is a list", 400, b"[1]", InvalidError),
    ("a redirect that nobody hoped for", 302, b"", AmbiguousError),
    ("a success of another kind", 206, b"", AmbiguousError),
    ("a status that nobody knows", 418, b"", InvalidError),
]


@pytest.mark.parametrize(("status", "body", "cls"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_which_answer_means_what(status: int, body: bytes, cls: type[StepError]) -> None:
    assert type(refusal("ask", reply(status, body))) is cls


def test_a_refusal_says_what_where_and_how_to_ask_for_help() -> None:
    error = refusal("create user", reply(400, detail("UNIQUENESS_VIOLATION", existingId="u-1"), Correlation_Id="c-1"))
    assert str(error) == "create user: 400 INVALID_DATA: UNIQUENESS_VIOLATION name: d (Correlation-Id c-1)"
    assert isinstance(error, AlreadyExistsError)
    assert error.existing_id == "u-1"


def test_a_refusal_does_not_repeat_what_was_secret_in_the_request() -> None:
    asked = Request("PUT", API, given=[Secret("hunter2hunter2")])
    body = b'{"code": "hunter2hunter2", "message": "the value hunter2hunter2 is bad"}'
    error = refusal("set", attrs.evolve(reply(400, body), asked=asked))
    assert "hunter2" not in f"{error} {error.code}"


def test_retry_after_is_read_as_seconds_as_a_date_and_from_the_details() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    for headers, body in (
        ({"Retry_After": "30"}, b"{}"),
        ({"Retry_After": format_datetime(soon, usegmt=True)}, b"{}"),
        ({}, detail("LIMIT_EXCEEDED", retryAfter=soon.isoformat())),
    ):
        error = refusal("ask", reply(429, body, **headers))
        assert isinstance(error, TransientError)
        assert error.retry_after == pytest.approx(30, abs=3)
    for absurd in (
        "soon",
        "nan",
        "9" * 400,
        "Mon, 01 Jan 99999 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 1 Jan 0001 00:00:00 +2359",
    ):
        wait = refusal("ask", reply(503, b"", Retry_After=absurd)).retry_after  # type: ignore[attr-defined]
        assert wait is None or 0 <= wait < 1e12
    for absurd in ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "never"):
        wait = refusal("ask", reply(429, detail("REQUEST_LIMITED", retryAfter=absurd))).retry_after  # type: ignore[attr-defined]
        assert wait is None or 0 <= wait < 1e12


@given(st.binary(max_size=200), st.integers(100, 599))
def test_no_answer_is_too_odd_to_be_an_error(body: bytes, status: int) -> None:
    assert isinstance(refusal("ask", reply(status, body)), StepError)


_WORDS = st.sampled_from(
    [
        "code",
        "details",
        "error",
        "message",
        "error_description",
        "id",
        "target",
        "innerError",
        "existingId",
        "retryAfter",
        "unsatisfiedRequirements",
        "NOT_FOUND",
        "QUOTA_EXCEEDED",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(_WORDS, _JSON, max_size=6), st.sampled_from([400, 403, 409, 429, 500]))
def test_no_shape_of_an_error_body_is_too_odd(body: dict[str, Any], status: int) -> None:
    error = refusal("ask", reply(status, orjson.dumps(body)))
    assert isinstance(error, StepError)
    assert error.message.startswith(f"ask: {status}")


async def test_a_403_says_what_to_look_at(http: aioresponses) -> None:
    http.post(f"{API}/users", status=403, payload={"code": "ACCESS_FAILED", "message": "no"})
    async with client() as pingone:
        with pytest.raises(AccessError, match="does the worker have its roles in this environment"):
            await pingone.management.create("user", "users", {})


async def test_the_worker_token_is_fetched_once_and_shared(http: aioresponses) -> None:

    http.get(API, payload={"id": "env-1"}, repeat=True)
    async with client() as pingone, anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(pingone.management.read, "environment", "")
    assert len(sent(http, "POST", TOKEN)) == 1
    assert all(call.kwargs["headers"]["Authorization"] == "Bearer token-1" for call in sent(http, "GET", API))


@attrs.define
class SteppedClock(SystemClock):
    """Steady time is what a test says."""

    time: float = 0.0

    def steady(self) -> float:
        return self.time


async def test_the_worker_token_is_renewed_early(http: aioresponses) -> None:
    clock = SteppedClock()
    http.post(TOKEN, payload={"access_token": "token-2", "expires_in": 3600})
    async with open_client(SETTINGS, clock, lambda: None) as pingone:
        assert (await pingone.worker_token.get()).reveal() == "token-1"
        clock.time = 2879
        assert (await pingone.worker_token.get()).reveal() == "token-1"
        clock.time = 2881
        assert (await pingone.worker_token.get()).reveal() == "token-2"


FAILED_RENEWALS: dict[str, dict[str, Any]] = {
    "503": {"status": 503},
    "refused credentials": {"status": 401, "payload": {"error": "invalid_client"}},
    "an answer of another kind": {"payload": []},
    "no connection": {"exception": aiohttp.ClientConnectorError(Mock(host="h", port=1), OSError("refused"))},
    "a broken connection": {"exception": aiohttp.ServerDisconnectedError()},
}


@pytest.mark.parametrize("answer", FAILED_RENEWALS.values(), ids=list(FAILED_RENEWALS))
async def test_a_token_that_cannot_be_renewed_is_used_until_it_expires(http: aioresponses, answer: dict[str, Any]) -> None:
    clock = SteppedClock()
    http.post(TOKEN, **answer, repeat=True)
    async with open_client(SETTINGS, clock, lambda: None) as pingone:
        await pingone.worker_token.get()
        for clock.time in range(2880, 3600, 2):
            assert (await pingone.worker_token.get()).reveal() == "token-1"
        renewals = len(sent(http, "POST", TOKEN)) - 1
        assert 12 <= renewals <= 40, "the pause between two renewals grows to a minute"
        clock.time = 3600
        with pytest.raises(StepError):
            await pingone.worker_token.get()


async def test_a_renewal_that_hangs_holds_nobody_up_for_long(http: aioresponses, monkeypatch: pytest.MonkeyPatch) -> None:

    asked: list[Any] = []

    async def hangs_once(*_: Any, **__: Any) -> CallbackResult:
        asked.append(None)
        if len(asked) == 1:
            await anyio.sleep_forever()
        return CallbackResult(payload={"access_token": "token-2", "expires_in": 3600}, response_class=_Response)

    monkeypatch.setattr(worker_token, "RENEWAL_LIMIT_S", 0.01)
    clock = SteppedClock()
    http.post(TOKEN, callback=hangs_once, repeat=True)
    async with open_client(SETTINGS, clock, lambda: None) as pingone:
        await pingone.worker_token.get()
        clock.time = 2881
        assert (await pingone.worker_token.get()).reveal() == "token-1"
        clock.time = 2883
        assert (await pingone.worker_token.get()).reveal() == "token-2"


async def test_a_401_is_asked_again_with_a_new_token_and_only_once(http: aioresponses) -> None:
    http.post(f"{API}/users", status=401, payload={"code": "ACCESS_FAILED"}, repeat=True)
    http.post(TOKEN, payload={"access_token": "token-2", "expires_in": 3600}, repeat=True)
    async with client() as pingone:
        with pytest.raises(UnauthorizedError):
            await pingone.management.create("user", "users", {})
    assert [call.kwargs["headers"]["Authorization"] for call in sent(http, "POST", f"{API}/users")] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


async def test_a_certificate_is_no_matter_of_credentials(http: aioresponses) -> None:
    http.clear()
    http.post(TOKEN, exception=aiohttp.ClientConnectorCertificateError(Mock(host="h", port=1), Exception("self-signed")))
    async with client() as pingone:
        with pytest.raises(NoConnectionError, match="SSL_CERT_FILE") as failed:
            await pingone.worker_token.get()
    assert "PINGONE" not in str(failed.value)


async def test_wrong_worker_credentials_say_what_to_check(http: aioresponses) -> None:
    http.clear()
    refusal = {"error": "invalid_client", "error_description": "no worker-secret here"}
    http.post(TOKEN, status=401, payload=refusal, repeat=True)
    async with client() as pingone:
        with pytest.raises(PermanentError, match="check PINGONE_CLIENT_ID") as refused:
            await pingone.worker_token.get()
    assert "worker-secret" not in str(refused.value)


@pytest.mark.parametrize("status", [403, 404, 409])
async def test_a_refusal_of_the_token_endpoint_says_nothing_of_the_object(http: aioresponses, status: int) -> None:
    """Else a 404 of a gateway before it would read: what is to be deleted is gone."""
    http.clear()
    http.post(TOKEN, status=status, repeat=True)
    async with client() as pingone:
        for call in (
            pingone.management.delete("user", "users/u-1"),
            pingone.management.create("scope", "resources/r-1/scopes", {}),
            pingone.management.read("user", "users/u-1"),
            pingone.management.find(Listing("users", "users", lambda row: True)),
        ):
            with pytest.raises(PermanentError, match="get a worker token") as refused:
                await call
            assert type(refused.value) is PermanentError
    assert not [url for _, url in http.requests if str(url) != TOKEN]


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
async def test_what_is_no_list_is_not_taken_for_an_empty_one(http: aioresponses, odd: dict[str, Any]) -> None:
    """Something that is there would be made again."""
    http.get(f"{API}/users", payload=odd)
    async with client() as pingone:
        with pytest.raises(AmbiguousError):
            await pingone.management.find(Listing("users", "users", lambda row: row.get("username") == "somebody"))


@pytest.mark.parametrize("location", ["http://[bad", "", "?", "https://www.example.com/signon/"])
async def test_a_redirect_to_nowhere_is_refused_in_words(http: aioresponses, location: str) -> None:
    http.get(re.compile(r".*/as/authorize.*"), status=302, headers={"Location": location})
    async with client() as pingone:
        with pytest.raises(PermanentError, match="the redirect names no flow"):
            await pingone.sign_on.authorize({"client_id": "a"})


@pytest.mark.parametrize("answer", [{"status": 201, "payload": {}}, {"status": 206, "payload": {"id": "u-1"}}, {"status": 303}])
async def test_a_create_that_may_have_worked_is_in_doubt(http: aioresponses, answer: dict[str, Any]) -> None:
    http.post(f"{API}/users", **answer)
    async with client() as pingone:
        with pytest.raises(AmbiguousError):
            await pingone.management.create("user", "users", {})


async def test_another_success_of_a_create_is_one(http: aioresponses) -> None:
    http.post(f"{API}/users", status=200, payload={"id": "u-1"})
    async with client() as pingone:
        assert await pingone.management.create("user", "users", {}) == {"id": "u-1"}


async def test_a_token_that_cannot_be_had_now_leaves_no_doubt_about_the_step(http: aioresponses) -> None:
    http.clear()
    http.post(TOKEN, status=503)
    async with client() as pingone:
        with pytest.raises(TransientError) as failed:
            await pingone.management.create("user", "users", {})
    assert type(failed.value) is TransientError


async def test_a_page_is_followed_but_only_on_the_host_of_the_token(http: aioresponses) -> None:
    http.get(
        f"{API}/resources",
        payload={
            "_embedded": {"resources": [{"id": "1", "name": "a"}]},
            # The vendor's own examples have links with another scheme.
            "_links": {"next": {"href": f"{API}/resources?cursor=x".replace("https", "http")}},
        },
    )
    http.get(
        f"{API}/resources?cursor=x",
        payload={"_embedded": {"resources": [{"id": "2", "name": "b"}]}, "_links": {"next": {"href": "https://evil.example/x"}}},
    )
    async with client() as pingone:
        found = await pingone.management.find(Listing("resources", "resources", lambda row: row["name"] == "b"))
        assert found == {"id": "2", "name": "b"}
    http.get(f"{API}/resources", payload={"_links": {"next": {"href": "https://evil.example/x"}}})
    async with client() as pingone:
        http.post(TOKEN, payload={"access_token": "token-1", "expires_in": 3600})
        with pytest.raises(PermanentError, match="not for that host"):
            await pingone.management.find(Listing("resources", "resources", lambda row: False))


async def test_redirects_are_read_and_never_followed(http: aioresponses) -> None:
    url = "https://auth.pingone.eu/env-1/as/resume?flowId=f"
    http.get(url, status=302, headers={"Location": "https://www.example.com?code=c-1&state=s"})
    async with client() as pingone:
        code = await pingone.sign_on.resume("f", {"ST": Secret("cookie-1")})
    assert code is not None
    assert code.reveal() == "c-1"
    call = sent(http, "GET", url)[0]
    assert call.kwargs["allow_redirects"] is False
    assert call.kwargs["headers"]["Cookie"] == "ST=cookie-1"


@pytest.mark.parametrize(
    ("error", "cls"),
    [
        (aiohttp.ServerDisconnectedError(), AmbiguousError),
        (aiohttp.ClientPayloadError("x"), AmbiguousError),
        (aiohttp.ClientOSError(104, "reset"), AmbiguousError),
        (TimeoutError(), AmbiguousError),
        (aiohttp.ConnectionTimeoutError(), TransientError),
        (aiohttp.ClientConnectorError(Mock(host="h", port=1, ssl=False), OSError(111, "refused")), TransientError),
        (aiohttp.ClientProxyConnectionError(Mock(host="h", port=1, ssl=False), OSError(111, "refused")), TransientError),
        (aiohttp.ClientHttpProxyError(Mock(), (), status=407, message="Who are you?"), NoConnectionError),
        (aiohttp.ClientHttpProxyError(Mock(), (), status=503, message="Later"), TransientError),
        (aiohttp.InvalidURL("x"), NoConnectionError),
        (aiohttp.ClientConnectorCertificateError(Mock(host="h", port=1), Exception("self-signed")), NoConnectionError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_which_broken_connection_means_what(http: aioresponses, error: Exception, cls: type[StepError]) -> None:
    http.post(f"{API}/users", exception=error)
    async with client() as pingone:
        with pytest.raises(StepError) as failed:
            await pingone.management.create("user", "users", {})
    assert type(failed.value) is cls


async def test_an_answer_that_is_not_json_is_ambiguous(http: aioresponses) -> None:
    http.post(f"{API}/users", status=201, body="<html>a proxy's page</html>")
    async with client() as pingone:
        with pytest.raises(AmbiguousError):
            await pingone.management.create("user", "users", {})


async def test_the_guard_is_asked_before_every_request(http: aioresponses) -> None:
    def late() -> None:
        raise LeaseExpiredError("261123-000000", 1.0)

    async with client(check_lease=late) as pingone:
        with pytest.raises(LeaseExpiredError):
            await pingone.worker_token.get()
    assert http.requests == {}


@pytest.mark.parametrize("operation", ["set_password", "delete_user"])
async def test_no_effect_is_sent_again_by_the_http_library(operation: str) -> None:
    """aiohttp repeats PUT and DELETE by itself when a kept connection breaks."""
    async with sandbox(f"{operation}:reset_before*1") as emulator, client(settings_for(emulator)) as pingone:
        user = await pingone.management.create("user", "users", {"username": "u", "email": "a@b.cd"})
        path = f"users/{user['id']}"
        with pytest.raises(AmbiguousError):
            if operation == "set_password":
                await pingone.management.put("set", f"{path}/password", {}, "application/vnd.pingidentity.password.set+json", [])
            else:
                await pingone.management.delete("user", path)
    assert emulator.audit()["calls"][operation] == 1


def test_regions_have_hosts() -> None:
    hosts = {region: attrs.evolve(SETTINGS, region=region).auth_url for region in Region}
    assert hosts[Region.NA] == "https://auth.pingone.com"
    assert hosts[Region.AU] == "https://auth.pingone.com.au"
    assert hosts[Region.AP] == "https://auth.pingone.asia"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"client_id": "a"}, "client-secret, environment-id: missing"),
        ({"base_url": "http://127.0.0.1:1"}, "missing"),
        (
            {"client_id": "a", "client_secret": Secret("b"), "environment_id": "c", "base_url": "http://example.com"},
            "in the clear",
        ),
        *(
            ({"client_id": "a", "client_secret": Secret("b"), "environment_id": "c", "base_url": url}, "is not an address")
            for url in ("nonsense", "http://a b", "http://h:x", "http://h:99999", "http://h:0", "https://h?x=1", "https://h#x")
        ),
        ({"client_id": "a", "client_secret": Secret("b"), "environment_id": "c", "base_url": "https://[x"}, "not an address"),
        (
            {"client_id": "a", "client_secret": Secret("b"), "environment_id": "c", "base_url": "https://u:p@h"},
            "no name or password",
        ),
    ],
)
def test_half_a_tenant_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        PingOneSettings(**given)


def claims_of(**changes: Any) -> dict[str, Any]:
    now = int(SystemClock().now())
    return {"iss": "https://auth.pingone.eu/env-1/as", "aud": ["https://aud"], "exp": now + 60, "scope": "s"} | changes


BAD_TOKENS: dict[str, tuple[Callable[[], dict[str, Any]], type[StepError]]] = {
    "expired": (lambda: claims_of(exp=1), ExpiredTokenError),
    "of another issuer": (lambda: claims_of(iss="https://other"), PermanentError),
    "for another audience": (lambda: claims_of(aud="https://other"), PermanentError),
    "without an expiry": (lambda: {"iss": "https://auth.pingone.eu/env-1/as", "aud": "https://aud"}, PermanentError),
}


@pytest.mark.parametrize("case", list(BAD_TOKENS))
async def test_a_token_is_not_believed_without_proof(http: aioresponses, case: str) -> None:
    claims, cls = BAD_TOKENS[case]
    http.get("https://auth.pingone.eu/env-1/as/jwks", payload={"keys": [signing_key().jwk]})
    async with client() as pingone:
        good = await pingone.tokens.verify(Secret(signing_key().sign(claims_of(), "at+jwt")), audience="https://aud")
        assert good[1]["scope"] == "s"
        with pytest.raises(PermanentError) as refused:
            await pingone.tokens.verify(Secret(signing_key().sign(claims(), "at+jwt")), audience="https://aud")
    assert type(refused.value) is cls


async def test_a_token_of_an_unknown_or_wrong_key_is_refused(http: aioresponses) -> None:
    http.get("https://auth.pingone.eu/env-1/as/jwks", payload={"keys": [signing_key().jwk]}, repeat=True)
    unknown = jwt.encode(claims_of(), signing_key().private, algorithm="RS256", headers={"kid": "other"})
    forged = jwt.encode(claims_of(), "s" * 64, algorithm="HS256", headers={"kid": signing_key().kid})
    async with client() as pingone:
        with pytest.raises(PermanentError, match="not in the JWKS"):
            await pingone.tokens.verify(Secret(unknown), audience="https://aud")
        for text in (forged, "nonsense", "a.b.c"):
            with pytest.raises(PermanentError):
                await pingone.tokens.verify(Secret(text), audience="https://aud")


@pytest.mark.parametrize(
    "answer",
    [[], "no JSON", {}, {"keys": 7}, {"keys": {"kty": "RSA"}}],
    ids=["a list", "text", "empty", "a number", "one key"],
)
async def test_a_malformed_jwks_is_read_again_later(http: aioresponses, answer: Any) -> None:
    body = answer if isinstance(answer, str) else json.dumps(answer)
    http.get("https://auth.pingone.eu/env-1/as/jwks", body=body)
    http.get("https://auth.pingone.eu/env-1/as/jwks", payload={"keys": [signing_key().jwk]})
    token = Secret(signing_key().sign(claims_of(), "at+jwt"))
    async with client() as pingone:
        with pytest.raises(TransientError):
            await pingone.tokens.verify(token, audience="https://aud")
        assert (await pingone.tokens.verify(token, audience="https://aud"))[1]["scope"] == "s"


async def test_keys_of_a_jwks_that_cannot_be_used_are_passed_over(http: aioresponses) -> None:
    good = signing_key().jwk
    bad: list[Any] = [
        7,
        None,
        [],
        {},
        {"kty": "RSA"},
        {"kty": ["RSA"]},
        {**good, "n": 7},
        {**good, "n": "!"},
        {**good, "e": ""},
        {**good, "e": "AA"},
    ]
    http.get(
        "https://auth.pingone.eu/env-1/as/jwks",
        payload={"keys": [*bad, good, *({"kid": "x", **row} for row in bad if isinstance(row, dict) and "kid" not in row)]},
    )
    async with client() as pingone:
        token = Secret(signing_key().sign(claims_of(), "at+jwt"))
        assert (await pingone.tokens.verify(token, audience="https://aud"))[1]["scope"] == "s"


@pytest.mark.parametrize("algorithm", list(HmacAlgorithm))
def test_an_assertion_says_what_the_vendor_asks_for(algorithm: HmacAlgorithm) -> None:
    secret = Secret("s" * 64)
    made = sign(
        client_id="app",
        audience="aud",
        claims={"custom1": "v"},
        now=1e9,
        secret=secret,
        algorithm=algorithm,
        private_key=None,
        kid="k",
    )
    read = jwt.decode(made.text.reveal(), "s" * 64, algorithms=[algorithm.value], audience="aud", options={"verify_exp": False})
    assert read == made.claims
    assert jwt.get_unverified_header(made.text.reveal()) == made.header
    assert (read["iss"], read["sub"], read["custom1"]) == ("app", "app", "v")
    assert 0 < read["exp"] - 1e9 <= 3600


def test_an_assertion_of_a_private_key_verifies_with_the_jwks_of_the_application() -> None:
    key = new_private_key()
    made = sign(
        client_id="app", audience="aud", claims={}, now=1e9, secret=None, algorithm=HmacAlgorithm.HS256, private_key=key, kid="k"
    )
    public = jwt.PyJWKSet.from_json(jwks(key, "k"))["k"]
    jwt.decode(made.text.reveal(), public, algorithms=["ES256"], audience="aud", options={"verify_exp": False})
    assert "d" not in json.loads(jwks(key, "k"))["keys"][0]


def test_passwords_satisfy_the_policy_and_differ() -> None:
    made = {new_password().reveal() for _ in range(200)}
    assert len(made) == 200
    assert not [password for password in made if unsatisfied(password, (), ())]


@pytest.mark.parametrize("id_", ["", "a/../b", "a?b", "\x1b[2J", "a b", "é", "x" * 201, 7, None])
def test_an_id_that_does_not_fit_into_an_address_is_none(id_: Any) -> None:
    assert not is_id(id_)
    error = refusal("create user", reply(400, detail("UNIQUENESS_VIOLATION", existingId=id_)))
    assert error.existing_id is None or id_ == 7  # type: ignore[attr-defined]


async def test_what_was_created_under_an_impossible_id_is_looked_for(http: aioresponses) -> None:
    http.post(f"{API}/users", payload={"id": "../\x1b[2J"}, status=201)
    async with client() as pingone:
        with pytest.raises(AmbiguousError, match="user: the answer holds no id"):
            await pingone.management.create("user", "users", {})
