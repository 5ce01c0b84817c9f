"""Converts the text of flags, variables and files to numbers, booleans and choices, with errors for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from orchestrator.errors import SettingError, shortened

T = TypeVar("T")
N = TypeVar("N", int, float)


def check_text(name: str, raw: object, source: str) -> None:
    """Rejects lone surrogates (bytes that are not UTF-8) and NUL, which neither store nor server accepts."""
    for text in raw if isinstance(raw, list | tuple) else [raw]:
        if isinstance(text, str) and ("\0" in text or text != text.encode(errors="replace").decode()):
            raise SettingError(name, "is not text in UTF-8", source)


def parsable(raw: object) -> str:
    """The text for a setting's own parser; the items of a TOML list are joined by commas."""
    items = raw if isinstance(raw, list) else [raw]
    if not all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in items):
        raise TypeError(f"{shortened(raw)} is not text")
    return ",".join(map(str, items))


def as_text(kind: Callable[[str], T], raw: object) -> T:
    """``raw``, which must be text, as ``kind``. Raises ``TypeError``."""
    if not isinstance(raw, str):
        raise TypeError(f"{shortened(raw)} is not text")
    return kind(raw)


def as_number(kind: type[N], raw: object) -> N:
    """A number, or its text, as ``int`` or ``float``. Raises ``ValueError``."""
    if kind is int and not isinstance(raw, float) and re.fullmatch(r"\s*[+-]?[0-9]{19,}\s*", str(raw)):
        # No store holds it as an integer, and Python does not even read more than 4300 digits.
        raise ValueError(f"{shortened(raw)} is too large")
    try:
        if isinstance(raw, bool) or not isinstance(raw, str | int | float) or (kind is int and isinstance(raw, float)):
            raise ValueError
        return kind(raw)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{shortened(raw)} is not a {'whole ' if kind is int else ''}number") from None


def as_boolean(raw: object) -> bool:
    """A boolean, or a word for one. Raises ``ValueError``."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if str(raw).lower() not in words:
        raise ValueError(f"must be true or false, not {shortened(raw)}")
    return words[str(raw).lower()]


def choice(cls: type[Enum], raw: object) -> Enum:
    """A member of an enum, or its value in any case. Raises ``ValueError``."""
    if isinstance(raw, cls):
        return raw
    for member in cls:
        if str(member.value).lower() == str(raw).lower():
            return member
    raise ValueError(f"must be one of {', '.join(str(m.value) for m in cls)}, not {shortened(raw)}")
