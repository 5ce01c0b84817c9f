"""The machine as an inline SVG with a count on each transition: a column of states, ways back as arcs on the right."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from orchestrator.state import Back
from orchestrator.workflow import Workflow

_ROW = 46
_BOX_WIDTH, _BOX_HEIGHT = 230, 26
_LEFT, _TOP = 150, 16
_LANE = 26


def machine_svg(
    workflow: Workflow[Any, Any], moves: Mapping[tuple[str, str], int], failed: Mapping[str, int], here: Mapping[str, int]
) -> str:
    """SVG text.

    Args:
        moves: (state, outcome) → how often.
        failed: State → how often an instance could not go on from it.
        here: State → instances that stand in it now.
    """
    places = [*(state.name for state in workflow.states), *workflow.ends]
    row = {name: index for index, name in enumerate(places)}
    parts: list[str] = []
    lanes = 0
    for state in workflow.states:
        for outcome, to in state.transitions.items():
            target, count = to.target if isinstance(to, Back) else to, moves.get((state.name, outcome), 0)
            if isinstance(to, Back):
                lanes += 1
                parts.append(_arc(row[state.name], row[target], lanes, f"{outcome} {count:,}", used=bool(count)))
            else:
                parts.append(_arrow(row[state.name], row[target], f"{count:,}", used=bool(count)))
        if failed.get(state.name):
            parts.append(_failure(row[state.name], failed[state.name]))
    parts += [_box(name, row[name], here.get(name, 0), end=name in workflow.ends) for name in places]
    width, height = _LEFT + _BOX_WIDTH + lanes * _LANE + 170, _TOP * 2 + _ROW * len(places) - (_ROW - _BOX_HEIGHT)
    return (
        f'<svg class="machine" viewBox="0 0 {width} {height}" role="img" aria-label="The machine, with how often each transition '
        f'was taken"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker></defs>{"".join(parts)}</svg>'
    )


def _y(row: int) -> float:
    return _TOP + row * _ROW


def _box(name: str, row: int, here: int, *, end: bool) -> str:
    shown = f"{row + 1}  {name}" if not end else name
    badge = ""
    if here:
        badge = f'<text class="here" x="{_LEFT + _BOX_WIDTH - 8}" y="{_y(row) + 17}" text-anchor="end">{here:,} here</text>'
    return (
        f'<rect class="{"end" if end else "state"}" x="{_LEFT}" y="{_y(row)}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"/>'
        f'<text x="{_LEFT + 10}" y="{_y(row) + 17}">{escape(shown)}</text>{badge}'
    )


def _arrow(source: int, target: int, label: str, *, used: bool) -> str:
    style = "go" if used else "go unused"
    middle = _LEFT + _BOX_WIDTH / 2
    if target == source + 1:
        return (
            f'<line class="{style}" x1="{middle}" y1="{_y(source) + _BOX_HEIGHT}" x2="{middle}" y2="{_y(target)}" marker-end="url(#tip)"/>'
            f'<text class="count" x="{middle + 8}" y="{_y(source) + _BOX_HEIGHT + 14}">{escape(label)}</text>'
        )
    # Over some states: an arc on the left.
    bend, middle_y = _LEFT - 30, (_y(source) + _y(target) + _BOX_HEIGHT) / 2
    return (
        f'<path class="{style}" d="M{_LEFT} {_y(source) + 13} C{bend} {_y(source) + 13} {bend} {_y(target) + 13} {_LEFT} '
        f'{_y(target) + 13}" marker-end="url(#tip)"/><text class="count" x="{bend + 4}" y="{middle_y}" text-anchor="end">'
        f"{escape(label)}</text>"
    )


def _arc(source: int, target: int, lane: int, label: str, *, used: bool) -> str:
    right, bend = _LEFT + _BOX_WIDTH, _LEFT + _BOX_WIDTH + 14 + lane * _LANE
    begin, end = _y(source) + 9, _y(target) + 17
    if source == target:
        begin, end = _y(source) + 20, _y(source) + 6
    style = "back" if used else "back unused"
    text_class = "count back" if used else "count unused"
    return (
        f'<path class="{style}" d="M{right} {begin} H{bend - 8} Q{bend} {begin} {bend} {begin - 8} V{end + 8} Q{bend} {end} {bend - 8} '
        f'{end} H{right}" marker-end="url(#tip)"/><text class="{text_class}" x="{right + 12}" y="{begin + 13}">{escape(label)}</text>'
    )


def _failure(row: int, count: int) -> str:
    y = _y(row) + _BOX_HEIGHT / 2
    return (
        f'<line class="fail" x1="{_LEFT}" y1="{y}" x2="{_LEFT - 46}" y2="{y}" marker-end="url(#tip)"/>'
        f'<text class="count fail" x="{_LEFT - 52}" y="{y + 4}" text-anchor="end">{count:,} gave up</text>'
    )
