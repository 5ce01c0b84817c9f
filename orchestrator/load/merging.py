"""Merges the windows of several shards by time: measurements of the same time are added, time is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from orchestrator.load.window import Window

_TOUCHING_S = 0.01
"""Windows that overlap by less follow each other."""


class _Timed(Protocol):
    """A stretch of the scenario's time."""

    @property
    def elapsed(self) -> float: ...
    @property
    def width(self) -> float: ...


W = TypeVar("W", bound=_Timed)


def grouped_by_time(windows: Iterable[W]) -> list[list[W]]:
    """Windows of several shards in order, grouped: a group reaches from one moment at which no shard has an open window to the next
    such moment."""
    found: list[list[W]] = []
    end = 0.0
    for window in sorted(windows, key=lambda one: (one.elapsed, one.elapsed + one.width)):
        if not found or window.elapsed >= end - _TOUCHING_S:
            found.append([])
            end = window.elapsed
        found[-1].append(window)
        end = max(end, window.elapsed + window.width)
    return found


def merged_by_time(shards: Sequence[Sequence[Window]]) -> list[Window]:
    """The windows of several shards as those of one run: measurements of the same time are added, time is not.

    Args:
        shards: The windows of each shard, in order.
    """
    shard_of = {id(window): shard for shard, windows in enumerate(shards) for window in windows}
    found: list[Window] = []
    for group in grouped_by_time(window for windows in shards for window in windows):
        parts: dict[int, list[Window]] = {}
        for window in group:
            parts.setdefault(shard_of[id(window)], []).append(window)
        begin, end = group[0].elapsed, max(window.elapsed + window.width for window in group)
        found.append(_side_by_side([_one_after_the_other(part) for part in parts.values()], begin, end))
    return found


def _one_after_the_other(windows: Sequence[Window]) -> Window:
    """The windows of one shard as one."""
    first = windows[0]
    found = Window(at=first.at, elapsed=first.elapsed, warm=first.warm, over=first.over)
    for window in windows:
        found.add(window)
        found.width += window.width
    return found


def _side_by_side(windows: Sequence[Window], begin: float, end: float) -> Window:
    """Windows of different shards, which were measured at the same time, as one."""
    found = Window(
        at=min(window.at for window in windows),
        elapsed=begin,
        width=end - begin,
        warm=any(window.warm for window in windows),
        over=all(window.over for window in windows),
    )
    for window in windows:
        found.add(window)
    # Averages over the samples are added up: with the samples of all, they would be averaged.
    samples = max(window.active[1] for window in windows)

    def sum_of(totals: Iterable[tuple[int, int]]) -> int:
        return round(sum(total / count * samples for total, count in totals if count))

    found.active = (
        sum_of((window.active[0], window.active[1]) for window in windows),
        samples,
        sum(window.active[2] for window in windows),
    )
    found.load = (
        sum_of((window.load[0], window.active[1]) for window in windows),
        sum_of((window.load[1], window.active[1]) for window in windows),
    )
    found.memory = sum(window.memory for window in windows)
    return found
