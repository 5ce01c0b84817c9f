"""The ids of runs and instances."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import SettingError
from orchestrator.lifecycle.ids import LONGEST_RUN_ID, check_run_id, new_run_id, parse_id
from states.token_fulfillment import names

GOOD = [
    "a",
    "4711",
    "order17",
    "nightly-build-7a",
    "2026-11-24-nightly",
    "550e8400-e29b-41d4-a716-446655440000",
    "261123-k7m3qp",
    "a-12345678901",  # too long for the number of an instance
    "x" * LONGEST_RUN_ID,
]
groups = st.lists(st.text("abcxyz0123456789", min_size=1, max_size=12), min_size=1, max_size=5).map("-".join)


@pytest.mark.parametrize("text", GOOD)
def test_a_run_id_is_a_run_id_and_with_a_number_an_instance(text: str) -> None:
    assert check_run_id(text) == text
    assert parse_id(text) == (text, None)
    assert parse_id(f"{text}-0") == (text, 0)
    assert parse_id(f"{text}-9999999999") == (text, 9999999999)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' must consist of a-z and 0-9"),
        ("Order", "'Order' must consist of"),
        ("a--b", "must consist of"),
        ("-a", "must consist of"),
        ("a-", "must consist of"),
        ("a_b", "must consist of"),
        ("a/../b", "must consist of"),
        ("a b", "must consist of"),
        ("ü", "must consist of"),
        ("a\n", "must consist of"),
        ("x" * (LONGEST_RUN_ID + 1), "has 49 characters, and 48 is the maximum"),
        ("order-17", "'order-17' would be instance 17 of a run 'order'; do not end with a hyphen and a number: order17"),
    ],
)
def test_a_wrong_id_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        check_run_id(text)


@pytest.mark.parametrize("text", ["", "x-1-2", "A-1", "a--1", "-1", "x" * 49 + "-1", "a-1\n", "a-١"])
def test_an_id_of_neither_a_run_nor_an_instance_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not the id of a run"):
        parse_id(text)


@given(groups)
def test_no_text_is_the_id_of_a_run_and_of_an_instance(text: str) -> None:
    try:
        run_id, number = parse_id(text)
    except ValueError:
        return
    assert text == (run_id if number is None else f"{run_id}-{text.rpartition('-')[2]}")
    assert (check_run_id(run_id), parse_id(run_id)) == (run_id, (run_id, None))


def test_a_fresh_id_is_one_that_could_be_chosen() -> None:
    made = {new_run_id(1_763_900_000.0) for _ in range(5000)}
    assert all(parse_id(check_run_id(run_id)) == (run_id, None) for run_id in made)


def test_the_longest_id_fits_into_a_host_name_of_the_tenant() -> None:
    host = names.audience(f"{'x' * LONGEST_RUN_ID}-999999999").removeprefix("https://")
    assert all(0 < len(label) <= 63 and not label.endswith("-") for label in host.split("."))
