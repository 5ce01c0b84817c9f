"""Reads rows from a CSV or JSONL file, or from mappings, one at a time. It blocks."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import attrs
import orjson

from orchestrator.errors import SettingError, shortened


@attrs.frozen
class Line:
    """A row as it was given."""

    place: str
    """Names it in messages: the file with the number of the line, or the number of the row."""
    fields: Mapping[str, object]
    is_text: bool = False
    """Every value is text, and an empty one means that nothing is given (CSV)."""
    header: str | None = None
    """Names the line that names the columns; ``None``: the row itself does."""


def row_error(place: str, problem: str) -> SettingError:
    """The error for a row that cannot be used."""
    return SettingError("data", f"{place}: {problem}")


def read_file(path: Path) -> Iterator[Line]:
    """The rows of a file, whose name tells its format: ``.csv``, ``.jsonl`` or ``.ndjson``. Empty lines are skipped.

    Raises:
        SettingError: The file, or a line of it, cannot be read.
    """
    read = _FORMATS.get(path.suffix.lower())
    if read is None:
        raise SettingError("data", f"{shortened(path.name)} must end with .csv or .jsonl")
    try:
        yield from read(path)
    except OSError as error:
        raise SettingError("data", f"{shortened(str(path))} cannot be read: {error.strerror}") from error


def read_mappings(rows: Iterable[Mapping[str, object]]) -> Iterator[Line]:
    """The rows that a program gives."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise row_error(f"row {number}", f"{shortened(row)} is not a mapping of columns to values")
        yield Line(f"row {number}", row)


def _read_csv(path: Path) -> Iterator[Line]:
    # utf-8-sig: spreadsheets write a byte order mark. newline="": the reader handles line ends, which quoted values may hold.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        columns: list[str] | None = None
        header, end = "", 0
        while True:
            begin, end = end + 1, 0
            try:
                values = next(reader, None)
            except csv.Error as error:
                raise row_error(f"{path.name} line {begin}", f"is not valid CSV: {error}") from error
            except UnicodeDecodeError as error:
                raise row_error(path.name, f"is not text in UTF-8 (at line {begin} or soon after)") from error
            if values is None:
                return
            end, place = reader.line_num, f"{path.name} line {begin}"
            if not values:
                continue
            if columns is None:
                columns, header = _columns(values, place), place
                continue
            if len(values) != len(columns):
                raise row_error(place, f"the number of its values is {len(values)}, and the first line names {len(columns)}")
            yield Line(place, dict(zip(columns, values, strict=True)), is_text=True, header=header)


def _columns(values: list[str], place: str) -> list[str]:
    columns = [value.strip() for value in values]
    for column in columns:
        if not column:
            raise row_error(place, "a column has no name; the first line names the columns")
        if columns.count(column) > 1:
            raise row_error(place, f"the column {shortened(column)} is named twice")
    return columns


def _read_jsonl(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):
            if not text.strip():
                continue
            place = f"{path.name} line {number}"
            try:
                row = orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise row_error(place, f"is not valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise row_error(place, 'is not an object like {"column": "value"}')
            yield Line(place, row)


_FORMATS: Mapping[str, Callable[[Path], Iterator[Line]]] = {".csv": _read_csv, ".jsonl": _read_jsonl, ".ndjson": _read_jsonl}
