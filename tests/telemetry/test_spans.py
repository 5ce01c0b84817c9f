"""Attributes of the spans of requests: the address without user, password, query and fragment."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.telemetry.spans import request_attributes

PARTS = st.text("abcXYZ09-._~%;=&+$,!'()*:@/", max_size=12)


@pytest.mark.parametrize(
    ("url", "host", "port", "shown"),
    [
        ("https://me:geheim@h.example/x", "h.example", 443, "https://h.example/x"),
        ("https://h.example?code=geheim", "h.example", 443, "https://h.example"),
        ("https://h.example/a/b?code=geheim#geheim", "h.example", 443, "https://h.example/a/b"),
        ("https://h.example/a#geheim?geheim", "h.example", 443, "https://h.example/a"),
        ("HTTP://H.example:80/", "h.example", 80, "http://h.example/"),
        ("http://[::1]:8080/x", "::1", 8080, "http://[::1]:8080/x"),
    ],
)
def test_the_address_is_shown_without_secrets(url: str, host: str, port: int, shown: str) -> None:
    found = request_attributes("GET", url, 200, None)
    assert (found["server.address"], found["server.port"], found["url.full"]) == (host, port, shown)
    assert "geheim" not in str(found)


@pytest.mark.parametrize("url", ["", "x", "/x?y", "https://[::1/x", "https://h:port/x", "https://h:99999/"])
def test_an_address_that_cannot_be_requested_is_left_out(url: str) -> None:
    assert request_attributes("GET", url, 200, None) == {"http.request.method": "GET", "http.response.status_code": 200}


@given(st.sampled_from(["http", "https"]), PARTS, PARTS, PARTS)
def test_the_path_is_that_of_the_standard_library(scheme: str, path: str, query: str, fragment: str) -> None:
    url = f"{scheme}://h.example/{path}?{query}#{fragment}"
    assert request_attributes("GET", url, 200, None)["url.full"] == f"{scheme}://h.example{urlsplit(url).path}"
