"""Which error a response of PingOne becomes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from orchestrator import AmbiguousError, PermanentError, Secret, StepError, ThrottledError, TransientError
from states.http.reply import Reply
from states.http.request import Request
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
from tests.support.pingone import API


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
def test_each_answer_has_its_class_of_error(status: int, body: bytes, cls: type[StepError]) -> None:
    assert type(refusal("ask", reply(status, body))) is cls


def test_a_refusal_names_the_request_the_error_and_the_correlation_id() -> None:
    error = refusal("create user", reply(400, detail("UNIQUENESS_VIOLATION", existingId="u-1"), Correlation_Id="c-1"))
    assert str(error) == "create user: 400 INVALID_DATA: UNIQUENESS_VIOLATION name: d (Correlation-Id c-1)"
    assert isinstance(error, AlreadyExistsError)
    assert error.existing_id == "u-1"


def test_a_refusal_does_not_repeat_secrets_of_the_request() -> None:
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
        wait = refusal("ask", reply(503, b"", Retry_After=absurd)).retry_after
        assert wait is None or 0 <= wait < 1e12
    for absurd in ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "never"):
        wait = refusal("ask", reply(429, detail("REQUEST_LIMITED", retryAfter=absurd))).retry_after
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


@pytest.mark.parametrize("id_", ["", "a/../b", "a?b", "\x1b[2J", "a b", "é", "x" * 201, 7, None])
def test_an_id_that_does_not_fit_into_an_address_is_none(id_: Any) -> None:
    assert not is_id(id_)
    error = refusal("create user", reply(400, detail("UNIQUENESS_VIOLATION", existingId=id_)))
    assert error.existing_id is None or id_ == 7
