"""Requests and responses that are kept in case of a failure, with every secret masked."""

from __future__ import annotations

import json
from collections.abc import Mapping

from multidict import CIMultiDict

from orchestrator import Redactor, Secret
from states.http.exchange import HttpExchange
from states.http.masking import MASK
from states.http.reply import Reply
from states.http.request import Request

NOTHING = Redactor([])
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def exchange(
    *,
    url: str = "https://x/as/token",
    sent: Mapping[str, str] = {},
    sent_body: bytes | None = None,
    status: int = 200,
    received: Mapping[str, str] = {},
    received_body: bytes = b"",
    error: str | None = None,
) -> HttpExchange:
    reply = Reply(status, CIMultiDict(received), received_body)
    return HttpExchange(0.0, Request("POST", url, sent, sent_body), reply, 0.01, error)


def test_secrets_are_masked_wherever_they_stand() -> None:
    entry = exchange(
        url="https://x/as/resume?flowId=f1&code=the-code",
        sent={"Authorization": "Bearer abcdef", "Cookie": "ST=cookie-value", "Content-Type": "application/x-www-form-urlencoded"},
        sent_body=f"grant_type=authorization_code&code=the-code&client_assertion={JWT}&code_verifier=the-verifier".encode(),
        status=302,
        received={
            "Set-Cookie": "ST=another-cookie",
            "Location": "https://www.example.com?code=second-code&state=s",
            "Content-Type": "application/json",
        },
        received_body=json.dumps(
            {"access_token": JWT, "nested": [{"password": "pass-word"}], "note": f"see {JWT}", "id": "kept"}
        ).encode(),
    ).entry(NOTHING)
    text = json.dumps(entry)
    for secret in ("abcdef", "cookie-value", "the-code", "the-verifier", "another-cookie", "second-code", "pass-word", JWT):
        assert secret not in text
    assert "grant_type=authorization_code" in entry["request"]["postData"]["text"]
    assert "flowId=f1" in entry["request"]["url"]
    assert '"id":"kept"' in entry["response"]["content"]["text"]


def test_a_secret_of_the_instance_is_masked_under_any_name() -> None:
    entry = exchange(
        sent={"Content-Type": "application/json"},
        sent_body=b'{"forChange": "very-secret-thing"}',
        received_body=b"<html>very-secret-thing</html>",
        error="connection broke while sending very-secret-thing",
    ).entry(Redactor([Secret("very-secret-thing")]))
    assert "very-secret-thing" not in json.dumps(entry)
    assert MASK in entry["request"]["postData"]["text"]


def test_one_without_an_answer_says_why() -> None:
    entry = HttpExchange(0.0, Request("GET", "https://x/flows/f1"), None, 2.5, "the connection broke").entry(NOTHING)
    assert entry["response"]["status"] == 0
    assert entry["response"]["_error"] == "the connection broke"
    assert entry["time"] == 2500


def test_an_exchange_shows_the_body_and_the_correlation_id_of_a_refusal() -> None:
    body = b'{"code": "INVALID_DATA", "details": [{"code": "INVALID_VALUE", "target": "name"}]}'
    entry = exchange(status=400, received={"Correlation-Id": "c-1"}, received_body=body).entry(NOTHING)
    assert "INVALID_VALUE" in entry["response"]["content"]["text"]
    assert {"name": "Correlation-Id", "value": "c-1"} in entry["response"]["headers"]


def test_nothing_is_shown_of_a_body_that_is_not_understood() -> None:
    html = b"<a href='https://x/?code=abcd-1234&state=1'>here</a>"
    cut = b'\xef\xbb\xbf{"access_token": "opaque-token"'
    for body in (html, cut):
        text = json.dumps(exchange(status=302, received_body=body).entry(NOTHING))
        assert "abcd-1234" not in text
        assert "opaque-token" not in text
        assert f"({len(body)} bytes that are not JSON)" in text


def test_secrets_are_masked_in_any_spelling_shape_and_address() -> None:
    body = {
        "clientSecret": "s-1",
        "accessToken": {"deep": "s-2"},
        "token": ["s-3"],
        "code": "ABCDEF_12345X",
        "resumeUrl": "https://x/?flowId=f1&code=s-4",
    }
    entry = exchange(
        status=200,
        sent={"Content-Type": "application/vnd.pingidentity.form.submit+json"},
        sent_body=b'{"password": "s-5"}',
        received={"Location": "http://[bad"},
        received_body=json.dumps(body).encode(),
    ).entry(NOTHING)
    text = json.dumps(entry)
    for secret in ("s-1", "s-2", "s-3", "s-4", "s-5", "ABCDEF_12345X"):
        assert secret not in text
    assert "flowId=f1" in text


def test_an_exchange_and_an_answer_are_shown_without_headers_and_bodies() -> None:
    one = exchange(
        url="https://x/as/resume?flowId=f1&code=the-code",
        sent={"Authorization": "Bearer the-token", "X-Other": "other-header"},
        sent_body=b"the-request-body",
        received={"Set-Cookie": "ST=the-cookie"},
        received_body=b"the-answer-body",
    )
    for shown in (repr(one), str(one.request), repr(one.reply)):
        for secret in ("the-code", "the-token", "other-header", "the-request-body", "the-cookie", "the-answer-body"):
            assert secret not in shown
    assert "flowId=f1" in repr(one)
    assert "status=200" in repr(one)


def test_characters_that_act_on_a_terminal_are_pictures_in_the_archive() -> None:
    text = json.dumps(
        exchange(received={"X-Note": "\x1b[2J"}, received_body=b'{"message": "\\u001b]0;x\\u0007"}').entry(NOTHING),
        ensure_ascii=False,
    )
    assert "\x1b" not in text
    assert "␛[2J" in text
