"""Columns are checked and converted; a stored row is read back as it was."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

import attrs
import pytest

from orchestrator import CheckpointError, DefinitionError, Secret, SettingError
from orchestrator.inputs.form import RowForm
from orchestrator.inputs.reading import Line


class Colour(StrEnum):
    RED = "red"


@attrs.frozen(kw_only=True)
class Row:
    name: str
    size: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    share: float | None = None
    active: bool = True
    colour: Colour = Colour.RED
    day: date | None = None
    password: Secret | None = None


FORM = RowForm("toy", Row)


def csv(**fields: str) -> Line:
    return Line("r.csv line 2", fields, is_text=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (csv(size="1"), "the column 'name' is missing"),
        (csv(name=""), "the column 'name' is empty"),
        (csv(name="x", shape="1"), "unknown column 'shape'; known: name, size, share, active, colour, day, password"),
        (csv(name="x", size="big"), "column 'size': 'big' is not a whole number"),
        (csv(name="x", size="1.5"), "column 'size': '1.5' is not a whole number"),
        (csv(name="x", size="9" * 30), "column 'size': '" + "9" * 30 + "' is too large"),
        (csv(name="x", size="0"), "'size' must be >= 1: 0"),
        (csv(name="x", share="nan"), "column 'share': nan is not a finite number"),
        (csv(name="x", active="perhaps"), "column 'active': must be true or false, not 'perhaps'"),
        (csv(name="x", colour="blue"), "column 'colour': 'blue' is not a valid Colour"),
        (csv(name="x", day="today"), "column 'day': "),
        (csv(name="a\0b"), "column 'name': is not text in UTF-8"),
        (Line("r.csv line 2", {"name": 5}), "column 'name': 5 is not text"),
        (Line("r.csv line 2", {"name": None}), "the column 'name' is empty"),
        (Line("r.csv line 2", {"name": "x", "size": 1.5}), "column 'size': 1.5 is not a whole number"),
        (Line("r.csv line 2", {"name": "x", "size": True}), "column 'size': True is not a whole number"),
        (Line("r.csv line 2", {"name": "x", "password": 123456}), "column 'password': is not usable"),
        (Line("r.csv line 2", {"name": "x", "a-b": 1}), "unknown column 'a-b'"),
    ],
)
def test_a_wrong_value_is_refused_with_line_and_column(line: Line, message: str) -> None:
    with pytest.raises(SettingError) as refused:
        FORM.row(line)
    assert str(refused.value).startswith(f"data: r.csv line 2: {message}")
    assert "123456" not in str(refused.value)


def test_a_wrong_column_is_refused_with_the_line_that_names_it() -> None:
    for fields, problem in (({"shape": "1"}, "unknown column 'shape'"), ({"size": "1"}, "the column 'name' is missing")):
        with pytest.raises(SettingError, match=f"data: r.csv line 1: {problem}"):
            FORM.row(Line("r.csv line 7", fields, is_text=True, header="r.csv line 1"))


def test_text_is_converted_and_an_empty_value_is_the_default() -> None:
    line = csv(name="ada", size="7", share="0.5", active="no", colour="red", day="2026-11-24", password="hidden")
    row = FORM.row(line)
    assert row == Row(name="ada", size=7, share=0.5, active=False, day=date(2026, 11, 24), password=Secret("hidden"))
    assert FORM.row(csv(name="ada", size="", share="", active="", password="")) == Row(name="ada")
    assert FORM.row(Line("row 1", {"name": "", "password": Secret("hidden"), "share": 1})).share == 1.0


def test_a_column_may_be_written_with_hyphens_but_not_twice() -> None:
    @attrs.frozen
    class Named:
        given_name: str

    form = RowForm("toy", Named)
    assert form.row(csv(**{"given-name": "ada"})) == Named("ada")
    with pytest.raises(SettingError, match="the column 'given_name' is given twice, with - and with _"):
        form.row(csv(**{"given-name": "ada", "given_name": "ada"}))


def test_a_row_is_read_back_as_it_was_stored() -> None:
    row = Row(name="ada", share=0.5, day=date(2026, 11, 24), password=Secret("hidden"))
    assert FORM.loads(FORM.dumps(row), "r-0") == row


def test_a_row_that_no_longer_fits_names_the_instance() -> None:
    @attrs.frozen
    class Renamed:
        title: str

    with pytest.raises(CheckpointError, match=r"instance r-0: its row does not fit Renamed any more .*; resume with the version"):
        RowForm("toy", Renamed).loads(FORM.dumps(Row(name="ada")), "r-0")


def test_a_row_class_must_be_one_of_attrs_that_is_read_back() -> None:
    class Plain:
        pass

    @attrs.frozen
    class Lossy:
        pair: Any

    with pytest.raises(DefinitionError, match="its row class Plain is not an attrs class"):
        RowForm("toy", Plain)
    with pytest.raises(DefinitionError, match="its row class Lossy is not read back as it was stored"):
        RowForm("toy", Lossy).dumps(Lossy((1, 2)))
