"""Secrets that are recognized by the name of a field or by the form of a value."""

from __future__ import annotations

import base64

import pytest

from orchestrator import Secret
from states.http.masking import MASK, Masking
from states.http.request import Request

MASKING = Masking()


def secrets_of(request: Request) -> set[str]:
    return {secret.reveal() for secret in request.secrets}


def test_a_url_that_is_not_valid_is_not_shown_and_has_no_secrets() -> None:
    assert MASKING.mask_url("http://[bad?code=abc") == "(not a valid address)"
    assert list(MASKING.secrets_of_url("http://[bad?code=abc")) == []


@pytest.mark.parametrize(
    ("body", "media_type", "found"),
    [
        (b"code=abc&state=s&client_secret=d%20e", "application/x-www-form-urlencoded; charset=utf-8", ["abc", "d e"]),
        (b'{"a": [{"access_token": "abc"}], "state": "s"}', "application/json", ["abc"]),
        (b"<p>code=abc</p>", "text/html", []),
    ],
    ids=["a form", "JSON", "HTML"],
)
def test_secrets_of_a_body_are_found_by_the_names_of_its_fields(body: bytes, media_type: str, found: list[str]) -> None:
    assert list(MASKING.secrets_of_body(body, media_type)) == found


def test_the_code_of_an_error_is_shown_and_an_authorization_code_is_not() -> None:
    body = b'{"code":"NOT_FOUND"}'
    assert MASKING.mask_body(body, "application/json", refused=True) == body.decode()
    assert MASKING.mask_body(body, "application/json", refused=False) == f'{{"code":"{MASK}"}}'
    assert MASKING.mask_body(b'{"code":"abc-1"}', "application/json", refused=True) == f'{{"code":"{MASK}"}}'


def test_the_password_of_basic_authentication_is_a_secret_in_each_of_its_forms() -> None:
    pair = base64.b64encode(b"worker:pass%20word").decode()
    assert secrets_of(Request("GET", "https://x", {"Authorization": f"Basic {pair}"})) == {pair, "pass%20word", "pass word"}
    assert secrets_of(Request("GET", "https://x", {"Authorization": "Basic abc"})) == {"abc"}


def test_a_request_quotes_text_without_its_secrets_and_shows_no_headers() -> None:
    request = Request("GET", "https://x/?code=abcdef", {"Cookie": "a=ghijkl; b=mnopqr"}, None, [Secret("stuvwx")])
    assert request.quote("abcdef ghijkl mnopqr stuvwx yz") == f"{MASK} {MASK} {MASK} {MASK} yz"
    assert request.quote("z" * 20, 5) == "zzzzz…"
    assert repr(request) == f"Request('GET', 'https://x/?code={MASK}')"
