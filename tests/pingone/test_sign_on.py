"""The redirects of a sign-on."""

from __future__ import annotations

import re

import pytest

from orchestrator import PermanentError, Secret
from tests.support.pingone import client
from tests.support.transport import FakeTransport


@pytest.mark.parametrize("location", ["http://[bad", "", "?", "https://www.example.com/signon/"])
async def test_a_redirect_to_nowhere_is_refused_in_words(http: FakeTransport, location: str) -> None:
    http.get(re.compile(r".*/as/authorize.*"), status=302, headers={"Location": location})
    pingone = client(http)
    with pytest.raises(PermanentError, match="the redirect names no flow"):
        await pingone.sign_on.authorize({"client_id": "a"})


async def test_redirects_are_read_and_never_followed(http: FakeTransport) -> None:
    url = "https://auth.pingone.eu/env-1/as/resume?flowId=f"
    http.get(url, status=302, headers={"Location": "https://www.example.com?code=c-1&state=s"})
    pingone = client(http)
    code = await pingone.sign_on.resume("f", {"ST": Secret("cookie-1")})
    assert code is not None
    assert code.reveal() == "c-1"
    call = http.sent("GET", url)[0]
    assert [request.url for request in http.requests] == [url]
    assert call.headers["Cookie"] == "ST=cookie-1"
