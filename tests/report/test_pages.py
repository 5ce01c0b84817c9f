"""The HTML pages: the diagram of the machine, and the pages of one run and of two."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from orchestrator import Back, NextRound, PermanentError, Proof, State, Vault, Workflow, open_store, start
from orchestrator.inspection.details import details_of
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.report.html import page
from orchestrator.report.machine_svg import machine_svg
from orchestrator.report.templates import script_data
from orchestrator.report.text import lines
from states.token_fulfillment import WORKFLOW
from tests.cli.test_imports import imported
from tests.support.toy import Ledger, Making, fast, toy


class Forking(Making):
    """Two outcomes lead on, one past the next state, one to another end, and two back."""

    name = "one"
    outcomes = frozenset({"done", "skipped", "known", "refused", "again", "stale"})
    transitions = {
        "done": "two",
        "skipped": "two",
        "known": "three",
        "refused": "unwanted",
        "again": Back("one", at_most=3),
        "stale": Back("one", at_most=3),
    }


class Two(Making):
    outcomes = frozenset({"done", "known", "back", "further_back"})
    transitions = {
        "done": "three",
        "known": "completed",
        "back": Back("one", at_most=2),
        "further_back": Back("one", at_most=1_000_000),
    }


class Three(Making):
    transitions = {"done": "completed"}


def forked() -> Workflow[Any, Any]:
    return toy(Ledger(), Forking(), Two(), Three(), ends=("completed", "unwanted"))


def boxes(svg: str) -> dict[str, tuple[float, float, float, float]]:
    """Label → left, top, right, bottom, with a width that no browser's average letter exceeds."""
    found = {}
    for element in ET.fromstring(svg).iter("text"):
        text = "".join(element.itertext())
        x, y, width = float(element.get("x", 0)), float(element.get("y", 0)), 6.8 * len(text)
        left = x - width if element.get("text-anchor") == "end" else x
        found[f"{text} at {y}"] = (left, y - 10, left + width, y + 3)
    return found


@pytest.mark.parametrize("workflow", [WORKFLOW, forked()], ids=["token-fulfillment", "forked"])
@pytest.mark.parametrize("count", [0, 7, 1_234_567])
def test_labels_of_the_machine_do_not_overlap_nor_leave_the_picture(workflow: Workflow[Any, Any], count: int) -> None:
    states: list[State[Any, Any]] = list(workflow.states)
    moves = {(state.name, outcome): count for state in states for outcome in state.transitions}
    failed, here = {state.name: count for state in states}, {state.name: count for state in states}
    svg = machine_svg(workflow, moves, failed, here)
    labels = boxes(svg)
    for (one, a), (other, b) in itertools.combinations(labels.items(), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"{one} and {other} overlap"
    drawing = ET.fromstring(svg).find("svg")
    assert drawing is not None
    width, height = map(float, drawing.get("viewBox", "").split()[2:])
    for label, (left, top, right, bottom) in labels.items():
        assert left >= 0, label
        assert top >= 0, label
        assert right <= width, label
        assert bottom <= height, label


def test_every_transition_has_its_count() -> None:
    moves = {(state.name, outcome): 3 for state in WORKFLOW.states for outcome in state.transitions}
    text = " ".join(ET.fromstring(machine_svg(WORKFLOW, moves, {"authorize": 2}, {"authorize": 1})).itertext())
    for state in WORKFLOW.states:
        for outcome, to in state.transitions.items():
            if isinstance(to, Back | NextRound):
                assert f"{outcome} 3" in text
    assert "2 gave up" in text
    assert "1 here" in text


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_pages_open_on_the_span_that_the_workflow_ends_with(cli: Any, home: Path) -> None:
    for _ in range(2):
        assert cli("load", "--instances", "2", "--report", "one.html")[0] == 0
    assert cli("compare", "--output", "two.html")[0] == 0
    for name in ("one.html", "two.html"):
        assert data_of(Path(name).read_text())["main"] == "sign_on"


def test_a_run_without_errors_has_no_heading_for_them(cli: Any, home: Path) -> None:
    assert cli("load", "--instances", "2", "--report", "one.html")[0] == 0
    page = Path("one.html").read_text()
    assert ">Errors<" not in page
    assert 'id="errors"' not in page
    assert "errors met" in page  # a tile says that there were none


@pytest.mark.parametrize(("instances", "proves"), [(1, False), (1, True), (3, False), (3, True)])
async def test_a_proof_is_claimed_only_where_the_workflow_has_one(vault: Vault, instances: int, proves: bool) -> None:
    more = {"prove": lambda context: Proof(facts={"made": ", ".join(context.made)})} if proves else {}
    workflow = toy(Ledger(), **more)
    async with open_store("memory:") as store, start(workflow, store=store, instances=instances, options=fast(vault)) as run:
        await run.wait()
        summary = await summarise(await StoredRun.load(workflow, run.id, store=store, vault=vault))
    told = "\n".join(lines(summary))
    assert ("made             one, two, three" in told) is (proves and instances == 1)
    assert ("all 3 completed instances have shown their proof" in told) is (proves and instances == 3)
    assert ("proof" in told.lower()) is proves
    assert "Errors" not in told


def test_the_numbers_of_a_comparison_have_three_digits_or_so(cli: Any, home: Path) -> None:
    for _ in range(2):
        assert cli("load", "--instances", "3", "--json")[0] == 0
    assert cli("compare", "--output", "two.html")[0] == 0
    page = Path("two.html").read_text()
    cells = re.findall(r"<td[^>]*>(?:<span>)?([^<]*)", page)
    numbers = [cell for cell in cells if re.fullmatch(r"[\d,]+(\.\d+)?", cell)]
    assert len(numbers) > 100
    for number in numbers:
        whole, _, fraction = number.replace(",", "").partition(".")
        assert len(fraction) <= (1 if len(whole.lstrip("0")) >= 1 else 4), number


async def test_words_of_the_other_side_are_text_in_a_page_and_data_in_its_script(vault: Vault) -> None:
    hostile = "</script><script>alert('x')</script> <!-- & \"quoted\""
    ledger = Ledger(script={"run two": [PermanentError(hostile, code="<b>403</b>")]})
    workflow = toy(ledger)
    async with open_store("memory:") as store:
        async with start(workflow, store=store, instances=2, options=fast(vault)) as run:
            await run.wait()
        stored = await StoredRun.load(workflow, run.id, store=store, vault=vault)
        text = page(await details_of(stored, await summarise(stored)))
    assert "alert('x')" not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(&#39;x&#39;)" in text
    assert "&lt;b&gt;403&lt;/b&gt;" in text
    assert "</script>" not in script_data({hostile: hostile})
    assert json.loads(script_data({hostile: hostile})) == {hostile: hostile}


def test_a_run_and_a_comparison_without_a_page_do_not_import_the_templates(home: Path) -> None:
    load = ["load", "--instances=2"]
    assert imported(("jinja2",), *load, "+", *load, "+", "compare", "+", "report", "--csv=numbers") == []
    assert imported(("jinja2",), "compare", "--output=two.html") == ["jinja2"]
