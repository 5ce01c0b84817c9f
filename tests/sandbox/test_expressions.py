"""Expressions of attribute mappings, and filters."""

from __future__ import annotations

import pytest

from states.sandbox.expressions import check, evaluate
from states.sandbox.filters import FilterError, parse


def test_expressions_are_evaluated() -> None:
    context = {"requestData": {"clientAssertion": {"a": {"b": [1, True]}}, "clientAssertionHeader": None}}
    told = {"user": {"id": "u", "name": {"given": "G"}}, "context": context}
    assert evaluate("static", **told) == "static"
    assert evaluate("${user.name.given}", **told) == "G"
    assert evaluate("${#root.context.requestData.clientAssertion.a.b}", **told) == [1, True]
    assert evaluate("${#root.context.requestData.clientAssertion.nothing}", **told) is None
    assert evaluate("${#root.context.requestData.clientAssertionHeader.alg}", **told) is None
    assert check("${user.id}") is None
    assert check("a ${user.id}") is not None
    assert check("${env.x}") is not None


@pytest.mark.parametrize("text", ["", "name", "name eq", 'name gt "x"', '(name eq "x"', 'name eq "x" name', "name eq 'x'"])
def test_a_filter_that_cannot_be_used_says_why(text: str) -> None:
    with pytest.raises(FilterError):
        parse(text, ("name",))
