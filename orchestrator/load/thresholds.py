"""Thresholds: conditions that a run must meet, in a small language, judged on its statistics.

::

    exchange_token.p95 < 500ms          a state, its retries included (.attempt, .recover, .rollback: single calls)
    sign_on.p99 < 2s                    a segment; also instance, start_lag, wait.GROUP
    sign_on.rate > 20/s                 how many a second
    round.failed < 1%                   rounds that an instance could not finish; also round.p95, round.rate …
    create_user.failed < 1%             of a state: failed or retried attempts, in % of its calls
    failed < 1%                         instances that did not complete; also completed, leftovers, late, missed
    errors < 10                         failed attempts of all states
    introspect_token.p95 drift < 10%/h  the slope over the run, in % of where it began
    memory drift < 5%/h                 of this program

Statistics are ``min``, ``p50``, ``p90``, ``p95``, ``p99``, ``p99.9``, ``max``, ``count`` and ``rate``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence

import attrs

from orchestrator.lifecycle.duration import show_duration
from orchestrator.lifecycle.instance import CUT_OFF, NOT_COMPLETED, TERMINAL, Status
from orchestrator.load import series as keys
from orchestrator.load.drift import LEAST_DRIFT_S, slope
from orchestrator.load.figures import figure
from orchestrator.load.histogram import Histogram
from orchestrator.load.latency import PERCENTILES, Latency
from orchestrator.load.series import ROUND
from orchestrator.load.statistics import Statistics
from orchestrator.load.window import Window

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TIMES = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
RATES = {"/s": 1.0, "/min": 1 / 60, "/h": 1 / 3600}
DRIFTS = {"%/h": 1.0, "%/min": 60.0}
SIZES = {"mb": 1e6, "gb": 1e9}
SHARES = ("failed", "retried")
MEMORY = "memory"
_NOTHING = "nothing was measured"
_TOO_SHORT = f"not measured: a drift needs {show_duration(LEAST_DRIFT_S)}"


@attrs.frozen(kw_only=True)
class Measured:
    """The measurements that thresholds are judged on."""

    statistics: Statistics
    counts: Mapping[Status, int]
    """Instances by status."""
    missed: int = 0
    """Arrivals that never started; during the run, the overdue ones."""
    overdue: int = 0
    """Arrivals that are late and have not started."""
    due: int = 0
    """Arrivals that should have started."""
    expected_missed: int = 0
    """Arrivals that will be missed in the end, if arrivals continue to start at the present rate."""


@attrs.frozen
class Verdict:
    """Whether a threshold holds, and the measured value; without a value, ``found`` gives the reason."""

    text: str
    value: str | None
    holds: bool
    found: str
    """In words, e.g. ``it is 44.8 ms``."""


@attrs.frozen(kw_only=True)
class Threshold:
    """One threshold, understood; made by :func:`orchestrator.load.threshold_parser.parse`."""

    text: str
    subject: str
    stat: str | None
    drift: bool
    op: str
    limit: float
    unit: str

    @property
    def percentile(self) -> float | None:
        """Its percentile, if its statistic is one."""
        return float(self.stat[1:]) if self.stat is not None and re.fullmatch(r"p[0-9.]+", self.stat) else None

    @property
    def only_grows(self) -> bool:
        """Whether its value can only grow during a run."""
        return not self.drift and (self.unit == "" or self.stat == "max" or self.subject == MEMORY)

    def judge(self, measured: Measured) -> Verdict:
        """Whether it holds. A threshold without data does not hold."""
        value = self._value(measured)
        if value is None:
            return Verdict(self.text, None, False, _TOO_SHORT if self.drift else _NOTHING)
        holds = _OPERATORS[self.op](value, self.limit)
        shown = self._shown(value, holds)
        return Verdict(self.text, shown, holds, f"it is {shown}")

    def _value(self, measured: Measured) -> float | None:
        if self.drift:
            return slope(_measured(measured.statistics.windows, self.subject), self._of_window)
        if self.subject == MEMORY:
            return float(measured.statistics.total.memory) or None
        if self.stat is None or self.stat in SHARES:
            number, whole = self._part(measured)
            return _percent(number, whole) if self.unit == "%" else float(number)
        if self.stat == "count":
            return float(measured.statistics.ended(self.subject))
        if self.stat == "rate":
            return measured.statistics.rate(self.subject)
        return _stat(measured.statistics.latency(self.subject), self.stat)

    def against(self, measured: Measured) -> tuple[int, int, float]:
        """For a share or a percentile: the number of violations, the whole, and the share of violations that it allows."""
        upper = self.op in ("<", "<=")
        if self.percentile is None:
            number, whole = self._part(measured)
            return (number, whole, self.limit / 100) if upper else (whole - number, whole, 1 - self.limit / 100)
        histogram = measured.statistics.total.histograms.get(self.subject, Histogram())
        limit_us = int(self.limit * 1e6)
        above, share = histogram.above(limit_us), self.percentile / 100
        return (above, histogram.total, 1 - share) if upper else (histogram.below(limit_us), histogram.total, share)

    def holds_in(self, window: Window) -> bool | None:
        """Whether it holds within one window alone; ``None``: there is nothing of it there."""
        if self.unit == "%" and not self.drift:
            value = _percent(*self._part_of(window, keys.counts_by_status(window.counters)))
        else:
            value = found[0] if (found := self._of_window(window)) is not None else None
        return None if value is None else _OPERATORS[self.op](value, self.limit)

    def _part(self, measured: Measured) -> tuple[int, int]:
        """The number and the whole of a share."""
        if self.subject == "missed":
            return measured.missed, measured.due
        number, whole = self._part_of(measured.statistics.total, measured.counts)
        overdue = measured.overdue if self.subject == "late" else 0
        return number + overdue, whole + overdue

    def _part_of(self, window: Window, counts: Mapping[Status, int]) -> tuple[int, int]:
        if self.stat is not None:
            counted = window.counters[keys.share(self.subject, self.stat)]
            if self.subject == ROUND:
                return counted, window.counters[keys.ROUND_DONE] + counted
            return counted, sum(window.count(keys.call(self.subject, handler)) for handler in ("run", "recover"))
        if self.subject == "errors":
            return sum(tally.count for key, tally in window.errors.items() if key.kind != CUT_OFF), _calls(window)
        if self.subject == "late":
            # Both are counted after the warm-up.
            return window.counters[keys.LATE], window.counters[keys.STARTED]
        # Only ended instances: the result of the others is unknown.
        number = {
            "failed": sum(counts.get(status, 0) for status in NOT_COMPLETED),
            "completed": counts.get(Status.COMPLETED, 0),
            "leftovers": counts.get(Status.ROLLBACK_FAILED, 0),
        }[self.subject]
        return number, sum(counts.get(status, 0) for status in TERMINAL)

    def _of_window(self, window: Window) -> tuple[float, int] | None:
        """Value and weight of one window."""
        if self.subject == MEMORY:
            return (float(window.memory), 1) if window.memory else None
        latency = window.latencies.get(self.subject)
        if self.stat == "rate":
            return ((latency.count if latency else 0) / window.width, 1) if window.width else None
        value = _stat(latency, self.stat)
        return None if latency is None or value is None else (value, latency.count)

    def _shown(self, value: float, holds: bool) -> str:
        """The value in the threshold's unit; with more digits where rounding would put it on the other side of the limit."""
        scale = next((units[self.unit] for units in (TIMES, RATES, DRIFTS, SIZES) if self.unit in units), 1.0)
        value, limit = value / scale, self.limit / scale
        shown = figure(value)
        digits = 3
        while _OPERATORS[self.op](float(shown.replace(",", "")), limit) is not holds and digits < 17:
            shown, digits = f"{value:,.{digits}g}", digits + 1
        return f"{shown}{' ' if self.unit in TIMES or self.unit in SIZES else ''}{self.unit}"


def _stat(latency: Latency | None, stat: str | None) -> float | None:
    if latency is None or stat is None:
        return None
    if stat in ("min", "max"):
        return latency.min if stat == "min" else latency.max
    return latency.percentiles[PERCENTILES.index(float(stat[1:]))]


def _percent(number: int, whole: int) -> float | None:
    return 100 * number / whole if whole else None


def _calls(window: Window) -> int:
    """Calls of handlers."""
    return sum(window.count(name) for name in (window.histograms or window.latencies) if keys.is_call(name))


def _measured(windows: Sequence[Window], subject: str) -> Sequence[Window]:
    """Without those before the first and after the last in which something of it was measured: setting up and tearing down."""
    if subject == MEMORY:
        return windows
    found = [place for place, window in enumerate(windows) if subject in window.latencies]
    return windows[found[0] : found[-1] + 1] if found else ()
