"""The question that ``prune`` asks at a terminal."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("answer", "deletes"), [("y", True), ("YES ", True), ("", False), ("n", False), (EOFError(), False)], ids=repr
)
def test_only_a_yes_deletes(cli: Any, monkeypatch: pytest.MonkeyPatch, answer: str | EOFError, deletes: bool) -> None:
    run = json.loads(cli("run", "--json", "--on-success", "teardown")[1])["run"]
    asked: list[str] = []

    def reply(question: str) -> str:
        asked.append(question)
        if isinstance(answer, EOFError):
            raise answer
        return answer

    monkeypatch.setattr("builtins.input", reply)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    code, out, _ = cli("prune", "--keep", "0")
    assert (code, asked) == (0, ["Delete 1 run? [y/N] "])
    assert f"would delete {run}" in out
    assert ("Nothing was deleted." in out) is not deletes
    left = [row["run"] for row in json.loads(cli("list", "--json")[1])["runs"]]
    assert left == ([] if deletes else [run])


def test_without_a_run_to_delete_nothing_is_asked(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("run")
    monkeypatch.setattr("builtins.input", pytest.fail)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    code, out, _ = cli("prune", "--keep", "0")
    assert code == 0
    assert "0 runs would be deleted" in out
