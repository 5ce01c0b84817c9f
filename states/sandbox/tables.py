"""Tables of objects with indexes, so that the cost of a request does not grow with the number of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic

from states.sandbox.errors import not_found
from states.sandbox.objects import R, Row

Change = tuple[str, str, Row | None]
"""(table, id, object); the object is ``None`` if it was deleted."""


class Table(Generic[R]):
    """Objects of one kind by id. It reports every change.

    Args:
        indexed: Fields with an index for :meth:`where` and :meth:`like`.
    """

    def __init__(self, kind: str, report: Callable[[Change], None], *indexed: str) -> None:
        self.kind = kind
        self.rows: dict[str, R] = {}
        self._report = report
        self._indexes: dict[str, dict[object, dict[str, R]]] = {name: {} for name in indexed}

    def load(self, row: R) -> None:
        """Insert or replace without a report, for an object that was saved before."""
        before = self.rows.get(row.id)
        self.rows[row.id] = row
        for name, index in self._indexes.items():
            key = _folded(getattr(row, name))
            if before is not None and (old := _folded(getattr(before, name))) != key:
                _drop(index, old, row.id)
            index.setdefault(key, {})[row.id] = row

    def put(self, row: R) -> R:
        """Insert or replace."""
        self.load(row)
        self._report((self.kind, row.id, row))
        return row

    def remove(self, id: str) -> None:
        """Delete."""
        row = self.rows.pop(id)
        for name, index in self._indexes.items():
            _drop(index, _folded(getattr(row, name)), id)
        self._report((self.kind, id, None))

    def get(self, id: str, **fields: object) -> R:
        """The object with this id and these values, e.g. the id of its parent. Raises ``ApiError`` 404."""
        row = self.rows.get(id)
        if row is None or any(getattr(row, name) != value for name, value in fields.items()):
            raise not_found()
        return row

    def where(self, **fields: object) -> list[R]:
        """The objects with these values, oldest first."""
        return [row for row in self._candidates(fields) if all(getattr(row, name) == value for name, value in fields.items())]

    def like(self, field: str, value: str, **fields: object) -> list[R]:
        """The objects with these values, and with this text in ``field`` regardless of case."""
        return [
            row
            for row in self._candidates(fields | {field: value})
            if _folded(getattr(row, field)) == _folded(value) and all(getattr(row, name) == one for name, one in fields.items())
        ]

    def _candidates(self, fields: dict[str, object]) -> Iterable[R]:
        """The smallest set of objects from an index; all objects if no field has an index."""
        found = [self._indexes[name].get(_folded(value), {}) for name, value in fields.items() if name in self._indexes]
        return min(found, key=len, default=self.rows).values()


def _folded(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _drop(index: dict[object, dict[str, R]], key: object, id: str) -> None:
    bucket = index[key]
    del bucket[id]
    if not bucket:
        del index[key]
