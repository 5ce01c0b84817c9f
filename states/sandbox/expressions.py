"""Attribute mappings: static text, ``${user.path}``, and the token-fulfillment expressions. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_EXPRESSION = re.compile(r"\$\{(?P<inside>[^}]*)\}")
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_ROOT = "#root.context."


def check(value: str) -> str | None:
    """The error in a mapping's value; ``None`` if it is valid."""
    if "${" not in value:
        return None
    match = _EXPRESSION.fullmatch(value)
    if match is None:
        return "an expression must be the whole value, like ${user.id}"
    inside = match["inside"].strip()
    path = inside.removeprefix(_ROOT)
    if not _PATH.fullmatch(path):
        return f"'{inside}' is not an expression that can be evaluated"
    if inside.startswith(_ROOT):
        if path.split(".")[0] not in ("requestData", "appConfig"):
            return f"'{inside}' is not known"
    elif path.split(".")[0] != "user":
        return f"'{inside}' is not known"
    return None


def evaluate(value: str, *, user: Mapping[str, object], context: Mapping[str, object]) -> object:
    """The value of a mapping; ``None`` if a part of its path is missing.

    Args:
        context: The value of ``#root.context``: ``requestData`` and ``appConfig``.
    """
    match = _EXPRESSION.fullmatch(value)
    if match is None:
        return value
    inside = match["inside"].strip()
    found: object = {**context} if inside.startswith(_ROOT) else {"user": user}
    for part in inside.removeprefix(_ROOT).split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found
