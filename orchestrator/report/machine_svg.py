"""The machine as an inline SVG with a count on each transition.

The states are a column. Backward transitions are drawn on the right; transitions that skip states, and failures, on the left.
Labels stand in a column beside the lines, in the row of the source state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from markupsafe import Markup

from orchestrator.definition.machine import FAIL
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.report.templates import render

_ROW = 46
_BOX_HEIGHT = 26
_LEAST_BOX_WIDTH = 200
_TOP = 16
_LANE = 16
_GAP = 12
_LETTER = 7.0
"""Width of a letter of a label, at most on average, in the fonts that browsers use."""
_BETWEEN = " · "

_Label = tuple[str, str]
"""Its text, and its style."""


@attrs.frozen(kw_only=True)
class _Line:
    """An arrow; ``path`` is the value of the attribute ``d``."""

    style: str
    path: str


@attrs.frozen(kw_only=True)
class _Box:
    """A state, or an end."""

    style: str
    x: int
    y: int
    width: int
    height: int = _BOX_HEIGHT


@attrs.frozen(kw_only=True)
class _Text:
    """A line of text, in parts that have a style of their own."""

    style: str = ""
    x: int
    y: int
    anchor: str = ""
    parts: Sequence[_Label]


def machine_svg(
    workflow: AnyWorkflow, moves: Mapping[tuple[str, str], int], failed: Mapping[str, int], here: Mapping[str, int]
) -> Markup:
    """The SVG, ready to be put into a page.

    Args:
        moves: (state, outcome) → how often it was taken.
        failed: State → how many instances failed in it.
        here: State → how many instances are in it now.
    """
    places = [*workflow.machine.states, *workflow.ends]
    row = {name: index for index, name in enumerate(places)}
    ways: dict[tuple[int, int], list[_Label]] = {}
    gave_up: dict[int, list[_Label]] = {}
    for move in workflow.machine:
        if not move.by_engine:
            count = moves.get((move.source, move.trigger), 0)
            way = row[move.source], row[move.target]
            ways.setdefault(way, []).append((f"{move.trigger} {count:,}", "" if count else "unused"))
        elif move.trigger == FAIL and (count := failed.get(move.source, 0)):
            gave_up[row[move.source]] = [(f"{count:,} gave up", "fail")]
    steps = {way: labels for way, labels in ways.items() if way[1] == way[0] + 1}
    back = {way: labels for way, labels in ways.items() if way[1] <= way[0]}
    over = {way: labels for way, labels in ways.items() if way[1] > way[0] + 1}

    left_labels = _by_row(over, gave_up)
    right_labels = _by_row({way: [(text, f"back {style}") for text, style in labels] for way, labels in back.items()})
    left = round(_widest(left_labels) + _GAP + _LANE * (len(over) + 2))
    wide = max(
        _LEAST_BOX_WIDTH, *(round(_LETTER * (len(_numbered(name, row[name])) + len(_badge(here, name)) + 5)) for name in places)
    )
    right = left + wide
    left_column, right_column = left - _LANE * (len(over) + 2), right + _LANE * (len(back) + 1) + _GAP

    lines = [_step(way[0], labels, left + wide // 2) for way, labels in steps.items()]
    lines += [_arc(way, right, right + _LANE * lane, "back", labels) for lane, (way, labels) in enumerate(back.items(), start=1)]
    lines += [_arc(way, left, left - _LANE * lane, "go", labels) for lane, (way, labels) in enumerate(over.items(), start=1)]
    lines += [_Line(style="fail", path=f"M{left} {_y(index) + 17} H{left_column + 4}") for index in gave_up]
    texts = [_step_label(way[0], labels, left + wide // 2) for way, labels in steps.items()]
    texts += [_label(index, left_column, labels, "end") for index, labels in left_labels.items()]
    texts += [_label(index, right_column, labels, "start") for index, labels in right_labels.items()]
    boxes = []
    for name in places:
        y, is_end = _y(row[name]), name in workflow.ends
        boxes.append(_Box(style="end" if is_end else "state", x=left, y=y, width=wide))
        texts.append(_Text(x=left + 10, y=y + 17, parts=[(name if is_end else _numbered(name, row[name]), "")]))
        if badge := _badge(here, name):
            texts.append(_Text(style="here", x=left + wide - 8, y=y + 17, anchor="end", parts=[(badge, "")]))
    return render(
        "machine.svg",
        width=round(right_column + _widest(right_labels) + _GAP),
        height=_TOP * 2 + _ROW * len(places) - (_ROW - _BOX_HEIGHT),
        lines=lines,
        boxes=boxes,
        texts=texts,
        between=_BETWEEN,
    )


def _by_row(
    ways: Mapping[tuple[int, int], Sequence[_Label]], more: Mapping[int, Sequence[_Label]] | None = None
) -> dict[int, list[_Label]]:
    found: dict[int, list[_Label]] = {}
    for (source, _), labels in ways.items():
        found.setdefault(source, []).extend(labels)
    for source, labels in (more or {}).items():
        found.setdefault(source, []).extend(labels)
    return found


def _widest(labels: Mapping[int, Sequence[_Label]]) -> float:
    return max((_LETTER * len(_BETWEEN.join(text for text, _ in row)) for row in labels.values()), default=0.0)


def _y(row: int) -> int:
    return _TOP + row * _ROW


def _style(kind: str, labels: Sequence[_Label]) -> str:
    return f"{kind} unused" if all("unused" in style for _, style in labels) else kind


def _numbered(name: str, row: int) -> str:
    return f"{row + 1}  {name}"


def _badge(here: Mapping[str, int], name: str) -> str:
    return f"{here[name]:,} here" if here.get(name) else ""


def _step(source: int, labels: Sequence[_Label], middle: int) -> _Line:
    """To the state below."""
    return _Line(style=_style("go", labels), path=f"M{middle} {_y(source) + _BOX_HEIGHT} V{_y(source + 1)}")


def _step_label(source: int, labels: Sequence[_Label], middle: int) -> _Text:
    """Beside the arrow to the state below. A single outcome needs no name."""
    shown = [(text.rpartition(" ")[2], style) for text, style in labels] if len(labels) == 1 else labels
    return _Text(style="count", x=middle + 8, y=_y(source) + _BOX_HEIGHT + 14, parts=shown)


def _arc(way: tuple[int, int], edge: int, lane: int, kind: str, labels: Sequence[_Label]) -> _Line:
    """From the edge of one box out to its lane, along it, and into the edge of another box (or the same one)."""
    source, target = way
    begin, end = (_y(source) + 20, _y(source) + 6) if source == target else (_y(source) + 9, _y(target) + 17)
    out, along = (8 if lane > edge else -8), (8 if end > begin else -8)
    path = (
        f"M{edge} {begin} H{lane - out} Q{lane} {begin} {lane} {begin + along} "
        f"V{end - along} Q{lane} {end} {lane - out} {end} H{edge}"
    )
    return _Line(style=_style(kind, labels), path=path)


def _label(row: int, x: int, labels: Sequence[_Label], anchor: str) -> _Text:
    """In the column of labels."""
    return _Text(style="count", x=x, y=_y(row) + 17, anchor=anchor, parts=[(text, style.strip()) for text, style in labels])
