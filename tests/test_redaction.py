"""Secrets in any spelling, and characters that control a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import Redactor, Secret, visible
from orchestrator.redaction import LEAST, PART
from tests.support.spellings import SPELLINGS

secrets = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["C"]) | st.just(" "), min_size=12, max_size=60
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=25)
@given(secret=secrets, before=st.text("xyz =:\"'(", max_size=9), after=st.text("xyz &;\"')", max_size=9))
def test_a_secret_is_masked_in_every_spelling(spelling: str, secret: str, before: str, after: str) -> None:
    spelled = SPELLINGS[spelling](secret)
    shown = Redactor([Secret(secret)]).redact(f"{before} {spelled} {after}")
    assert spelled not in shown
    assert "********" in shown
    assert len(shown) <= len(before) + len(after) + 2 + 8 + (30 if "base64" in spelling else 0)  # nothing else of it is left


@settings(max_examples=25)
@given(secret=st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=20, max_size=60), data=st.data())
def test_a_part_of_a_secret_is_masked_too(secret: str, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(secret) - PART))
    part = secret[first : data.draw(st.integers(first + PART, len(secret)))]
    for text in (f"cut: {part}…", part, f"{part} and {part}"):
        assert part not in Redactor([Secret(secret)]).redact(text)


@pytest.mark.parametrize("length", range(LEAST, PART + 4))
def test_a_short_secret_is_masked_as_a_whole(length: int) -> None:
    secret = "Zq7$xW9!pK2z"[:length]
    for before in ("", "a", "ab", "abc"):
        assert Redactor([Secret(secret)]).redact(f"{before}{secret} b") == f"{before}******** b"


def test_text_without_a_secret_stays_unchanged() -> None:
    text = "create application: 400 INVALID_DATA: the %20 name &amp; \\u0041 is taken (Correlation-Id 1c3e8b7a-1111) ☃"
    one = Redactor([Secret("Zq7$xW9!pK2zabcdef"), Secret("abc"), Secret("")])
    assert one.redact(text) == text
    assert Redactor([]).redact(text) == text


def test_the_text_around_a_secret_is_kept() -> None:
    secret = Secret("tail-and-head-of-it")
    for spelled in (spelling(secret.reveal()) for name, spelling in SPELLINGS.items() if "base64" not in name):
        assert Redactor([secret]).redact(f"é {spelled}, {spelled}.") == "é ********, ********."


def test_halves_of_characters_are_no_matter() -> None:
    assert Redactor([Secret("secret\ud800thing")]).redact("a secret\ud800thing b") == "a ******** b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain — ü ☃", "plain — ü ☃"),
        ("\x1b]0;owned\x07", "␛]0;owned␇"),
        ("a\r\nb\x00\x7f", "a␍␊b␀␡"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202eevil\u2066\u200b\u2028", "\\u202eevil\\u2066\\u200b\\u2028"),
        ("\U000e0041\ud800", "\\U000e0041\\ud800"),
    ],
    ids=["nothing", "escape", "lines", "C1", "direction", "tags and halves"],
)
def test_characters_that_act_on_a_terminal_are_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
