"""A table finds the same objects by its indexes as by a scan of all objects."""

from __future__ import annotations

from random import Random
from typing import Any

import attrs

from states.sandbox.tables import Change, Table


@attrs.frozen(kw_only=True)
class Row:
    id: str
    name: str
    group: int
    created_at: float = 0.0


def test_indexes_agree_with_a_look_at_everything() -> None:
    rng, changes = Random(3), list[Change]()
    table: Table[Row] = Table("row", changes.append, "name", "group")
    for _ in range(2000):
        id = str(rng.randrange(40))
        if id in table.rows and rng.random() < 0.4:
            table.remove(id)
        else:
            table.put(Row(id=id, name=rng.choice("abcABC"), group=rng.randrange(3)))
        rows = list(table.rows.values())
        name, group = rng.choice("abcABC"), rng.randrange(3)
        expected = [row for row in rows if row.name == name and row.group == group]
        assert same(table.where(name=name, group=group), expected)
        assert same(table.where(name=name, id=id), [row for row in rows if row.name == name and row.id == id])
        assert same(table.like("name", name), [row for row in rows if row.name.lower() == name.lower()])
        assert same(
            table.like("name", name, group=group), [r for r in rows if r.name.lower() == name.lower() and r.group == group]
        )
    assert len(changes) == 2000


def same(found: list[Row], expected: list[Row]) -> bool:
    return sorted(found, key=lambda row: row.id) == sorted(expected, key=lambda row: row.id)


def test_finding_by_an_index_looks_at_nothing_else() -> None:
    looked = 0

    @attrs.frozen(kw_only=True)
    class Watched:
        id: str
        name: str
        kind: Any = None
        created_at: float = 0.0

        def __getattribute__(self, field: str) -> Any:
            nonlocal looked
            looked += field == "kind"
            return object.__getattribute__(self, field)

    table: Table[Watched] = Table("row", lambda change: None, "name")
    for number in range(500):
        table.put(Watched(id=str(number), name=f"n{number}"))
    assert [row.id for row in table.where(name="n7", kind=None)] == ["7"]
    assert table.where(name="other", kind=None) == []
    assert looked == 1
