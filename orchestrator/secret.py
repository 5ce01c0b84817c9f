"""Secret: a value that is never shown; stars replace it wherever it is printed, logged or formatted."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache

import attrs

MASK = "********"


class Secret:
    """A secret string. Only :meth:`reveal` returns the value, so that every use can be found.

    It is encrypted in a stored context (see :mod:`orchestrator.storage.encryption`). Equal secrets compare equal.
    """

    __slots__ = ("_value", "sealed")

    def __init__(self, value: str) -> None:
        self._value = value
        # Cache of the encrypted form: an unchanged secret is stored again with every checkpoint.
        self.sealed: tuple[object, str] | None = None

    def reveal(self) -> str:
        """The value."""
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

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret cannot be pickled: it would be written unencrypted")


@lru_cache
def fields_of(kind: type) -> tuple[str, ...] | None:
    """Names of the fields of an attrs class or a dataclass; ``None`` for any other type."""
    if attrs.has(kind):
        return tuple(field.name for field in attrs.fields(kind))
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return None


def secrets_in(value: object) -> Iterator[Secret]:
    """All secrets in an object of an attrs class or a dataclass, or in a container, recursively."""
    kind = type(value)
    if isinstance(value, Secret):
        yield value
    elif (names := fields_of(kind)) is not None:  # type: ignore[arg-type]  # a class is hashable
        for name in names:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, Collection) and not isinstance(value, str | bytes | bytearray):
        for item in value:
            yield from secrets_in(item)
