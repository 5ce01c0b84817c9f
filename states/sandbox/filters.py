"""SCIM filters: ``attribute eq|sw "value"`` with ``and``, ``or`` and parentheses. Pure. Source: RFC 7644 section 3.4.2.2."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from states.sandbox.json_types import JSONObject

_TOKEN = re.compile(r'\s*(?:(?P<paren>[()])|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<word>[^\s()"]+))')

Row = JSONObject
Test = Callable[[Row], bool]


class FilterError(ValueError):
    """The filter is malformed. The message gives the reason."""


class _Parser:
    def __init__(self, text: str, attributes: Collection[str], operators: Collection[str]) -> None:
        self._tokens = self._split(text)
        self._attributes = attributes
        self._operators = operators

    @staticmethod
    def _split(text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                raise FilterError(f"unexpected character at {at}")
            kind = str(match.lastgroup)
            tokens.append((kind, match[kind]))
            at = match.end()
        return tokens

    def parse(self) -> Test:
        test = self._either()
        if self._tokens:
            raise FilterError(f"unexpected {self._tokens[0][1]!r}")
        return test

    def _either(self) -> Test:
        tests = [self._both()]
        while self._take("word", "or"):
            tests.append(self._both())
        return lambda row: any(test(row) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._take("word", "and"):
            tests.append(self._one())
        return lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        if self._take("paren", "("):
            test = self._either()
            if not self._take("paren", ")"):
                raise FilterError("a ')' is missing")
            return test
        attribute, operator = self._next("word"), self._next("word").lower()
        if attribute not in self._attributes:
            raise FilterError(f"attribute {attribute!r} is not supported")
        if operator not in self._operators:
            raise FilterError(f"operator {operator!r} is not supported")
        for literal in (True, False):
            if self._take("word", str(literal).lower()):
                return lambda row: operator == "eq" and _at(row, attribute) is literal
        value = re.sub(r"\\(.)", r"\1", self._next("text"))
        if operator == "sw":
            return lambda row: str(_at(row, attribute)).startswith(value)
        return lambda row: _at(row, attribute) == value

    def _take(self, kind: str, text: str) -> bool:
        if self._tokens and self._tokens[0][0] == kind and self._tokens[0][1].lower() == text:
            self._tokens.pop(0)
            return True
        return False

    def _next(self, kind: str) -> str:
        if not self._tokens or self._tokens[0][0] != kind:
            raise FilterError('expected: attribute operator "value"')
        return self._tokens.pop(0)[1]


def parse(text: str, attributes: Collection[str], operators: Collection[str] = ("eq", "sw")) -> Test:
    """A predicate over the JSON form of rows. Raises ``FilterError``."""
    return _Parser(text, attributes, operators).parse()


def _at(row: Row, path: str) -> object:
    found: object = row
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
