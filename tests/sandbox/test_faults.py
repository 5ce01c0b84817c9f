"""Faults on demand: how they are written, and how they are answered."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest

from states.sandbox import OPERATIONS, parse_faults
from tests.support.caller import (
    calling,
)


async def test_a_fault_of_the_token_endpoint_is_worded_as_oauth_does() -> None:
    async with calling("token:400.invalid_grant*1") as call:
        answer = await call("POST", "", at=call.auth("as/token"), data={"grant_type": "authorization_code"})
    assert (answer.status, answer.body["error"]) == (400, "invalid_grant")


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
