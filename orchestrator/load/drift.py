"""Drift: the slope of a measurement over the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.load.window import Window

_LEAST_POINTS = 5
"""Windows that a slope is drawn through, at least."""
LEAST_DRIFT_S = 120.0
"""Measured time that a drift needs: from seconds, any noise makes thousands of percent an hour."""
_COVERED = 0.75
"""Part of it that must lie between the first and the last window with data; they do not begin and end with the scenario."""


def slope(windows: Sequence[Window], value_of: Callable[[Window], tuple[float, int] | None]) -> float | None:
    """% an hour, of where the fitted line begins: least squares, each window weighted by its measurements. ``None``: they cover
    too short a time."""
    points = [
        (window.elapsed + window.width / 2, *found) for window in windows if window.is_measured and (found := value_of(window))
    ]
    if len(points) < _LEAST_POINTS or points[-1][0] - points[0][0] < _COVERED * LEAST_DRIFT_S:
        return None
    weight = sum(w for _, _, w in points)
    mean_x = sum(x * w for x, _, w in points) / weight
    mean_y = sum(y * w for _, y, w in points) / weight
    spread = sum(w * (x - mean_x) ** 2 for x, _, w in points)
    if not spread:
        return None
    slope = sum(w * (x - mean_x) * (y - mean_y) for x, y, w in points) / spread
    start = mean_y + slope * (points[0][0] - mean_x)
    return 100 * slope * 3600 / start if start > 0 else None
