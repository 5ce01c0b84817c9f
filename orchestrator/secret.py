"""A value that is never shown: stars wherever it is printed, logged or formatted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

MASK = "********"


class Secret:
    """A secret string; only :meth:`reveal` gives the value, so that its uses can be found.

    In a stored context it is encrypted (see :mod:`orchestrator.encryption`). Equal secrets compare equal.
    """

    __slots__ = ("_value", "sealed")

    def __init__(self, value: str) -> None:
        self._value = value
        # The sealed form, kept because an unchanged secret is stored again with every checkpoint.
        self.sealed: tuple[object, str] | None = None

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret is not pickled: it would be written in the clear")


def secrets_in(value: object) -> Iterator[Secret]:
    """All secrets inside a context: an attrs instance, or containers of them."""
    if isinstance(value, Secret):
        yield value
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):  # type: ignore[arg-type]  # `has` is no type guard for instances
            yield from secrets_in(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from secrets_in(item)


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """``text`` with every secret of at least four characters replaced by stars."""
    values = {secret.reveal() for secret in secrets}
    # Longest first: the tail of one that begins with another would be left. As `repr` writes it too: lines are escaped.
    for value in sorted(values | {repr(value)[1:-1] for value in values}, key=len, reverse=True):
        if len(value) >= 4:
            text = text.replace(value, MASK)
    return text
