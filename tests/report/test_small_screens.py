"""The tables of a report on a small screen: rows become cards, in which each value has the name of its column."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from orchestrator import PermanentError, TransientError
from tests.support.toy import Ledger


class Cells(HTMLParser):
    """The cells of the rows of all tables: (class of the table, position, attributes, text)."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[tuple[str, int, dict[str, str | None], str]] = []
        self.table = ""
        self.position = 0
        self.attributes: dict[str, str | None] | None = None
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.table = dict(attrs).get("class") or ""
        elif tag == "tr":
            self.position = 0
        elif tag == "td":
            self.attributes, self.text = dict(attrs), ""

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            assert self.attributes is not None
            self.cells.append((self.table, self.position, self.attributes, self.text))
            self.position += 1


def cells_of(path: str) -> list[tuple[str, int, dict[str, str | None], str]]:
    parser = Cells()
    parser.feed(Path(path).read_text())
    return parser.cells


def test_each_value_of_a_card_has_a_name_and_an_empty_cell_has_no_space(cli: Any, home: Path, monkeypatch: Any) -> None:
    from states.token_fulfillment.resources import CreateScope
    from states.token_fulfillment.users import CreateUser

    ledger = Ledger(script={"scope": [TransientError("busy")], "user": [PermanentError("no")]})

    def failing(cls: type, key: str) -> None:
        original = cls.run

        async def run(self: Any, step: Any) -> Any:
            if ledger.script[key]:
                raise ledger.script[key].pop()
            return await original(self, step)

        monkeypatch.setattr(cls, "run", run)

    failing(CreateScope, "scope")
    failing(CreateUser, "user")
    assert cli("load", "--instances", "3", "--report", "load.html")[0] == 1
    cells = cells_of("load.html")
    assert {table for table, *_ in cells} == {"cards", "cards facts", "funnel"}
    cards = [cell for cell in cells if cell[0].startswith("cards")]
    assert {"ok", "retried", "failed", "count", "min", "p50", "p99.9", "max", "kind", "code", "status", "state"} <= {
        attributes.get("data-name") for _, _, attributes, _ in cards
    }
    for _, position, attributes, text in cards:
        named = position == 0 or attributes.get("data-name") or attributes.get("class") == "text"
        assert named or not text, text
        assert text == "" or text.strip()


def test_the_tables_of_a_comparison_fit_too(cli: Any, home: Path) -> None:
    for _ in range(2):
        assert cli("load", "--instances", "2", "--json")[0] == 0
    assert cli("compare", "--output", "two.html")[0] == 0
    assert {table for table, *_ in cells_of("two.html")} == {"numbers", "changes"}
