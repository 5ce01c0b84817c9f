"""Rows as they are read: every error names the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from orchestrator import SettingError
from orchestrator.inputs.reading import read_file, read_mappings
from orchestrator.inputs.staging import count_rows


def rows_of(name: str, content: bytes, folder: Path) -> list[Any]:
    (folder / name).write_bytes(content)
    return [(line.place, dict(line.fields)) for line in read_file(folder / name)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", b"a,b\n1,2\n\n1", "r.csv line 4: the number of its values is 1, and the first line names 2"),
        ("r.csv", b"a\n1,2", "r.csv line 2: the number of its values is 2, and the first line names 1"),
        ("r.csv", b"a,\n1,2", "r.csv line 1: a column has no name; the first line names the columns"),
        ("r.csv", b"a,b, a\n", "r.csv line 1: the column 'a' is named twice"),
        ("r.csv", b'a\n"x\ny"\n"z', "r.csv line 4: is not valid CSV: unexpected end of data"),
        ("r.csv", b'a\n"x"y\n', "r.csv line 2: is not valid CSV"),
        ("r.csv", b"a\n" + b"x" * 200_000, "r.csv line 2: is not valid CSV: field larger than field limit"),
        ("r.csv", b"a\n\xff\n", "r.csv: is not text in UTF-8 (at line 1 or soon after)"),
        ("r.jsonl", b'{"a": 1}\n{"a": ', "r.jsonl line 2: is not valid JSON"),
        ("r.jsonl", b"\n[1]\n", 'r.jsonl line 2: is not an object like {"column": "value"}'),
        ("r.jsonl", b'{"a": "\xff"}', "r.jsonl line 1: is not valid JSON"),
        ("r.txt", b"a\n1", "r.txt' must end with .csv or .jsonl"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refused:
        rows_of(name, content, tmp_path)
    assert str(refused.value).startswith("data: ")
    assert message in str(refused.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read: No such file or directory"):
        list(read_file(tmp_path / "missing.csv"))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(SettingError, match="cannot be read: Is a directory"):
        list(read_file(tmp_path / "folder.jsonl"))


def test_csv_has_names_in_its_first_line_and_counts_lines_as_an_editor_does(tmp_path: Path) -> None:
    content = '\ufeff\nname, size\r\nada,1\n\n"two\nlines",2\n"comma, ""quote""",\n'.encode()
    assert rows_of("r.CSV", content, tmp_path) == [
        ("r.CSV line 3", {"name": "ada", "size": "1"}),
        ("r.CSV line 5", {"name": "two\nlines", "size": "2"}),
        ("r.CSV line 7", {"name": 'comma, "quote"', "size": ""}),
    ]
    assert count_rows(tmp_path / "r.CSV") == 3


def test_jsonl_has_an_object_in_each_line(tmp_path: Path) -> None:
    rows = rows_of("r.ndjson", b'{"name": "ada", "size": 1}\n\n{"size": null}', tmp_path)
    assert rows == [("r.ndjson line 1", {"name": "ada", "size": 1}), ("r.ndjson line 3", {"size": None})]


def test_mappings_are_numbered_and_other_things_refused() -> None:
    lines = read_mappings([{"a": 1}, attrs.make_class("Row", [])()])
    assert next(lines).place == "row 1"
    with pytest.raises(SettingError, match=r"row 2: .* is not a mapping of columns to values"):
        next(lines)
