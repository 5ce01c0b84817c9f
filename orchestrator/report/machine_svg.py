"""The machine as an inline SVG with a count on each transition.

The states are a column. Backward transitions are drawn on the right; transitions that skip states, and failures, on the left.
Labels stand in a column beside the lines, in the row of the source state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from orchestrator.definition.machine import FAIL
from orchestrator.definition.workflow import AnyWorkflow

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


def machine_svg(
    workflow: AnyWorkflow, moves: Mapping[tuple[str, str], int], failed: Mapping[str, int], here: Mapping[str, int]
) -> str:
    """SVG text.

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

    parts = [_step(way[0], labels, left + wide // 2) for way, labels in steps.items()]
    parts += [_arc(way, right, right + _LANE * lane, "back", labels) for lane, (way, labels) in enumerate(back.items(), start=1)]
    parts += [_arc(way, left, left - _LANE * lane, "go", labels) for lane, (way, labels) in enumerate(over.items(), start=1)]
    parts += [_line(index, left, left_column + 4) for index in gave_up]
    parts += [_text(index, left_column, labels, "end") for index, labels in left_labels.items()]
    parts += [_text(index, right_column, labels, "start") for index, labels in right_labels.items()]
    for name in places:
        shown = name if name in workflow.ends else _numbered(name, row[name])
        parts.append(_box(shown, row[name], left, wide, _badge(here, name), end=name in workflow.ends))
    width = round(right_column + _widest(right_labels) + _GAP)
    height = _TOP * 2 + _ROW * len(places) - (_ROW - _BOX_HEIGHT)
    return (
        f'<div class="scroll"><svg class="machine" viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" '
        'aria-label="The machine, with how often each transition was taken"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker></defs>'
        f"{''.join(parts)}</svg></div>"
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


def _box(name: str, row: int, left: int, wide: int, badge: str, *, end: bool) -> str:
    text = f'<text class="here" x="{left + wide - 8}" y="{_y(row) + 17}" text-anchor="end">{badge}</text>' if badge else ""
    return (
        f'<rect class="{"end" if end else "state"}" x="{left}" y="{_y(row)}" width="{wide}" height="{_BOX_HEIGHT}" rx="6"/>'
        f'<text x="{left + 10}" y="{_y(row) + 17}">{escape(name)}</text>{text}'
    )


def _step(source: int, labels: Sequence[_Label], middle: int) -> str:
    """To the state below. A single outcome needs no name."""
    top = _y(source) + _BOX_HEIGHT
    shown = [(text.rpartition(" ")[2], style) for text, style in labels] if len(labels) == 1 else labels
    return (
        f'<line class="{_style("go", labels)}" x1="{middle}" y1="{top}" x2="{middle}" y2="{_y(source + 1)}" marker-end="url(#tip)"/>'
        f'<text class="count" x="{middle + 8}" y="{top + 14}">{_spans(shown)}</text>'
    )


def _arc(way: tuple[int, int], edge: int, lane: int, kind: str, labels: Sequence[_Label]) -> str:
    """From the edge of one box out to its lane, along it, and into the edge of another box (or the same one)."""
    source, target = way
    begin, end = (_y(source) + 20, _y(source) + 6) if source == target else (_y(source) + 9, _y(target) + 17)
    out, along = (8 if lane > edge else -8), (8 if end > begin else -8)
    return (
        f'<path class="{_style(kind, labels)}" d="M{edge} {begin} H{lane - out} Q{lane} {begin} {lane} {begin + along} '
        f'V{end - along} Q{lane} {end} {lane - out} {end} H{edge}" marker-end="url(#tip)"/>'
    )


def _line(row: int, left: int, to: int) -> str:
    y = _y(row) + 17
    return f'<line class="fail" x1="{left}" y1="{y}" x2="{to}" y2="{y}" marker-end="url(#tip)"/>'


def _text(row: int, x: int, labels: Sequence[_Label], anchor: str) -> str:
    return f'<text class="count" x="{x}" y="{_y(row) + 17}" text-anchor="{anchor}">{_spans(labels)}</text>'


def _spans(labels: Sequence[_Label]) -> str:
    return _BETWEEN.join(f'<tspan class="{style.strip()}">{escape(text)}</tspan>' for text, style in labels)
