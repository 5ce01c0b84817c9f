"""The machine as an inline SVG with a count on each transition.

The states are a column. Backward transitions are drawn on the right; transitions that skip states, and failures, on the left.
Labels stand in a column beside the lines, in the row of the source state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

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


_Ways = dict[tuple[int, int], list[_Label]]
"""(row of the source, row of the target) → labels."""


@attrs.frozen(kw_only=True)
class _Moves:
    """The moves of a machine, by the way that they are drawn."""

    steps: _Ways
    """To the state below."""
    back: _Ways
    over: _Ways
    """To a state further below."""
    gave_up: dict[int, list[_Label]]
    """Row of a state → instances that failed in it."""

    @property
    def left_labels(self) -> dict[int, list[_Label]]:
        """Row → labels in the column on the left."""
        return _by_row(self.over, self.gave_up)

    @property
    def right_labels(self) -> dict[int, list[_Label]]:
        """Row → labels in the column on the right."""
        return _by_row({way: [(text, f"back {style}") for text, style in labels] for way, labels in self.back.items()})


@attrs.frozen(kw_only=True)
class _Columns:
    """Horizontal positions."""

    left: int
    """Edges of the boxes."""
    right: int
    left_labels: int
    right_labels: int

    @property
    def middle(self) -> int:
        """Middle of the boxes."""
        return self.left + (self.right - self.left) // 2


def machine_svg(
    workflow: AnyWorkflow,
    moves: Mapping[tuple[str, str], int],
    failed: Mapping[str, int],
    here: Mapping[str, int],
    moving: Collection[tuple[str, str]] = (),
) -> Markup:
    """The SVG, ready to be put into a page.

    Args:
        moves: (state, outcome) → how often it was taken.
        failed: State → how many instances failed in it.
        here: State → how many instances are in it now.
        moving: (state, outcome) of the transitions to mark as taken just now.
    """
    places = [*workflow.machine.states, *workflow.ends]
    names = [name if name in workflow.ends else f"{row + 1}  {name}" for row, name in enumerate(places)]
    badges = [f"{here[name]:,} here" if here.get(name) else "" for name in places]
    drawn = _moves_of(workflow, {name: row for row, name in enumerate(places)}, moves, failed, moving)
    widest_box = max(round(_LETTER * (len(name) + len(badge) + 5)) for name, badge in zip(names, badges, strict=True))
    columns = _columns_of(drawn, max(_LEAST_BOX_WIDTH, widest_box))
    return render(
        "machine.svg",
        width=round(columns.right_labels + _widest(drawn.right_labels) + _GAP),
        height=_TOP * 2 + _ROW * len(places) - (_ROW - _BOX_HEIGHT),
        lines=_lines(drawn, columns),
        boxes=list(_boxes(workflow, places, here, columns)),
        texts=[*_labels(drawn, columns), *_names(names, badges, columns)],
        between=_BETWEEN,
    )


def _moves_of(
    workflow: AnyWorkflow,
    row: Mapping[str, int],
    moves: Mapping[tuple[str, str], int],
    failed: Mapping[str, int],
    moving: Collection[tuple[str, str]],
) -> _Moves:
    ways: _Ways = {}
    gave_up: dict[int, list[_Label]] = {}
    for move in workflow.machine:
        if not move.by_engine:
            count = moves.get((move.source, move.trigger), 0)
            way = row[move.source], row[move.target]
            taken_now = "moving" if (move.source, move.trigger) in moving else ""
            ways.setdefault(way, []).append((f"{move.trigger} {count:,}", taken_now if count else "unused"))
        elif move.trigger == FAIL and (count := failed.get(move.source, 0)):
            gave_up[row[move.source]] = [(f"{count:,} gave up", "fail")]
    return _Moves(
        steps={way: labels for way, labels in ways.items() if way[1] == way[0] + 1},
        back={way: labels for way, labels in ways.items() if way[1] <= way[0]},
        over={way: labels for way, labels in ways.items() if way[1] > way[0] + 1},
        gave_up=gave_up,
    )


def _columns_of(moves: _Moves, width: int) -> _Columns:
    lanes = _LANE * (len(moves.over) + 2)
    left = round(_widest(moves.left_labels) + _GAP + lanes)
    right = left + width
    return _Columns(left=left, right=right, left_labels=left - lanes, right_labels=right + _LANE * (len(moves.back) + 1) + _GAP)


def _lines(moves: _Moves, columns: _Columns) -> list[_Line]:
    left, right = columns.left, columns.right
    return [
        *(_step(way[0], labels, columns.middle) for way, labels in moves.steps.items()),
        *(_arc(way, right, right + _LANE * lane, "back", labels) for lane, (way, labels) in enumerate(moves.back.items(), 1)),
        *(_arc(way, left, left - _LANE * lane, "go", labels) for lane, (way, labels) in enumerate(moves.over.items(), 1)),
        *(_Line(style="fail", path=f"M{left} {_y(row) + 17} H{columns.left_labels + 4}") for row in moves.gave_up),
    ]


def _labels(moves: _Moves, columns: _Columns) -> list[_Text]:
    return [
        *(_step_label(way[0], labels, columns.middle) for way, labels in moves.steps.items()),
        *(_label(row, columns.left_labels, labels, "end") for row, labels in moves.left_labels.items()),
        *(_label(row, columns.right_labels, labels, "start") for row, labels in moves.right_labels.items()),
    ]


def _boxes(workflow: AnyWorkflow, places: Sequence[str], here: Mapping[str, int], columns: _Columns) -> Iterator[_Box]:
    """A box for each state, with a bar in it: the share of the instances that are there now."""
    wide, total = columns.right - columns.left, sum(here.values())
    for row, name in enumerate(places):
        yield _Box(style="end" if name in workflow.ends else "state", x=columns.left, y=_y(row), width=wide)
        if here.get(name):
            yield _Box(style="share", x=columns.left, y=_y(row), width=max(4, round(wide * here[name] / total)))


def _names(names: Sequence[str], badges: Sequence[str], columns: _Columns) -> Iterator[_Text]:
    """In the boxes: the name of each state, and how many instances are in it."""
    for row, (name, badge) in enumerate(zip(names, badges, strict=True)):
        yield _Text(x=columns.left + 10, y=_y(row) + 17, parts=[(name, "")])
        if badge:
            yield _Text(style="here", x=columns.right - 8, y=_y(row) + 17, anchor="end", parts=[(badge, "")])


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
    if any("moving" in style for _, style in labels):
        return f"{kind} moving"
    return f"{kind} unused" if all("unused" in style for _, style in labels) else kind


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
