"""Conditions on the change between two runs, e.g. for a CI job: ``compare --fail-on 'p95 > +10%'``. Pure.

::

    sign_on.p95 > +10%      a state or a segment; min, p50, p90, p95, p99, p99.9, max or rate
    p95 > +10%              the last segment of the workflow
    sign_on.rate < -5%      a drop
    memory > +20%           of this program

The change is from the first run to the second, in % of the first.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping

import attrs

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.errors import SettingError, shortened
from orchestrator.inspection.details import Details, main_series
from orchestrator.load.latency import PERCENTILES
from orchestrator.load.series import all_series

_MEMORY = "memory"
_STATISTICS = ("min", *(f"p{percentile:g}" for percentile in PERCENTILES), "max", "rate")
_GRAMMAR = re.compile(
    r"(?:(?P<name>[a-z_][a-z0-9_-]*)\.)?(?P<stat>[a-z][a-z0-9_.]*)\s*(?P<op><=|>=|<|>)\s*(?P<limit>[+-]?\d{1,6}(?:\.\d{1,6})?)\s*%"
)
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EXAMPLE = "write it like 'p95 > +10%', 'sign_on.p99 > +20%' or 'sign_on.rate < -5%'"


@attrs.frozen(kw_only=True)
class Condition:
    """A parsed condition; made by :func:`parse`."""

    text: str
    name: str
    stat: str | None
    """``None`` for memory."""
    op: str
    limit: float
    """In %."""

    def judge(self, first: Details, second: Details) -> Judgement:
        """Whether the condition is met. Without a measurement it counts as met, so that a CI job does not pass by accident."""
        before, after = self._value(first), self._value(second)
        for details, value in ((first, before), (second, after)):
            if value is None:
                return Judgement(self.text, f"run {details.summary.run_id} has no such measurement", True)
        assert before is not None
        assert after is not None
        from_zero = math.inf if after else 0.0
        change = 100 * (after - before) / before if before else from_zero
        return Judgement(self.text, f"it is {change:+.1f}%", _OPERATORS[self.op](change, self.limit))

    def _value(self, details: Details) -> float | None:
        statistics = details.summary.statistics
        if self.stat is None:
            return float(statistics.total.memory) or None
        latency = statistics.latency(self.name)
        if latency is None:
            return None
        if self.stat == "rate":
            return statistics.rate(self.name)
        if self.stat in ("min", "max"):
            return latency.min if self.stat == "min" else latency.max
        return latency.at(float(self.stat[1:]))


@attrs.frozen
class Judgement:
    """Whether a condition is met, with the change that was found."""

    text: str
    found: str
    met: bool


def parse_all(texts: Iterable[str], workflow: AnyWorkflow) -> list[Condition]:
    """Conditions on runs of this workflow. Raises ``SettingError``."""
    try:
        return [parse(text, workflow) for text in texts]
    except ValueError as error:
        raise SettingError("fail-on", str(error)) from error


def parse(text: str, workflow: AnyWorkflow) -> Condition:
    """A condition on runs of this workflow.

    Raises:
        ValueError: A syntax error, or a name that this workflow does not measure.
    """
    match = _GRAMMAR.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{shortened(text)} is not a condition on a change; {_EXAMPLE}")
    names = [name for name in all_series(workflow) if "." not in name]
    name, stat, op, limit = match["name"], match["stat"], match["op"], float(match["limit"])
    if name is None and stat == _MEMORY:
        return Condition(text=text.strip(), name=_MEMORY, stat=None, op=op, limit=limit)
    if name is None and stat in names:
        raise ValueError(f"{text!r}: say which statistic of {stat!r}: {', '.join(_STATISTICS)}")
    if name is not None and name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"
        raise ValueError(f"{text!r}: nothing is measured as {name!r}; {hint}")
    if stat not in _STATISTICS:
        raise ValueError(f"{text!r}: the statistic must be one of {', '.join(_STATISTICS)}, not {stat!r}")
    if (op in ("<", "<=")) and limit <= -100:
        raise ValueError(f"{text!r} is never met: nothing falls by more than 100%")
    return Condition(text=text.strip(), name=name or main_series(workflow), stat=stat, op=op, limit=limit)
