"""Classes and functions stay small enough to be read at once.

Counted are lines of code, without docstrings, comments and blank lines; of a function, those of its body.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
import states

CLASS = 200
INIT = 25
FUNCTION = 50


def code_lines(node: ast.AST, lines: list[str]) -> int:
    """Lines of code of a class, or of the body of a function."""
    docs: set[int] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant) and isinstance(inner.value.value, str):
            docs |= set(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    assert node.end_lineno is not None
    first = node.lineno if isinstance(node, ast.ClassDef) else node.body[0].lineno
    return sum(
        1
        for number in range(first, node.end_lineno + 1)
        if number not in docs and (text := lines[number - 1].strip()) and not text.startswith("#")
    )


def too_long(path: Path) -> Iterator[str]:
    text = path.read_text()
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            limit = CLASS
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            limit = INIT if node.name == "__init__" else FUNCTION
        else:
            continue
        if (found := code_lines(node, lines)) > limit:
            yield f"{path.parent.name}/{path.name}: {node.name} has {found} lines of code, more than {limit}"


@pytest.mark.parametrize("package", [orchestrator, states], ids=lambda package: package.__name__)
def test_no_class_and_no_function_is_too_long(package) -> None:
    assert package.__file__ is not None
    found = [problem for path in sorted(Path(package.__file__).parent.rglob("*.py")) for problem in too_long(path)]
    assert found == []


def test_docstrings_comments_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    line = '    """Say."""\n\n    # why\n    x = 1\n'
    path = tmp_path / "one.py"
    path.write_text("def __init__(\n    self,\n):\n" + line * (INIT + 1))
    assert list(too_long(path)) == [f"{tmp_path.name}/one.py: __init__ has {INIT + 1} lines of code, more than {INIT}"]
    path.write_text("def __init__(\n    self,\n):\n" + line * INIT)
    assert list(too_long(path)) == []
