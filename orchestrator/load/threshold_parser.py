"""Parses thresholds and refuses those that name unknown series, or that could never fail."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.errors import SettingError, shortened
from orchestrator.lifecycle.duration import show_duration
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load import series as keys
from orchestrator.load.drift import LEAST_DRIFT_S
from orchestrator.load.series import ROUND
from orchestrator.load.thresholds import DRIFTS, MEMORY, RATES, SHARES, SIZES, TIMES, Threshold

_GRAMMAR = re.compile(
    r"(?P<subject>[a-z_][\w.-]*?)(?:\.(?P<stat>min|max|p50|p90|p95|p99\.9|p99|count|rate|failed|retried))?"
    r"(?P<drift>\s+drift)?\s*(?P<op><=|>=|<|>)\s*(?P<number>-?\d+(?:\.\d+)?)\s*(?P<unit>[a-z%/µ]*)"
)
_COUNTS = ("failed", "completed", "leftovers", "late", "missed", "errors")
_STATISTICS = ("min", "max", "p50", "p90", "p95", "p99", "p99.9", "count", "rate", *SHARES)
_LARGEST = 1e12
"""A limit beyond this is a typing error."""


def parse(text: str, workflow: AnyWorkflow) -> Threshold:
    """A threshold of this workflow.

    Raises:
        ValueError: It is not in the language, or names a state or segment that this workflow does not have. The message is one line.
    """
    match = _GRAMMAR.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{shortened(text)} is not a threshold (like 'exchange_token.p95 < 500ms', 'failed < 1%' or 'sign_on.rate > 20/s')"
        )
    subject, stat, unit = match["subject"], match["stat"], match["unit"]
    drift = match["drift"] is not None
    _check_subject(text, subject, stat, workflow, drift=drift)
    units = _units(subject, stat, drift=drift)
    if unit not in units:
        raise ValueError(f"{text!r}: the unit must be {' or '.join(u or 'none' for u in units)}, not {unit or 'missing'}")
    _check_limit(text, match["op"], float(match["number"]), unit, drift=drift)
    limit = float(match["number"]) * units[unit]
    return Threshold(text=text.strip(), subject=subject, stat=stat, drift=drift, op=match["op"], limit=limit, unit=unit)


def parse_all(texts: Iterable[str], workflow: AnyWorkflow) -> list[Threshold]:
    """Thresholds of this workflow. Raises ``SettingError``."""
    try:
        return [parse(text, workflow) for text in texts]
    except ValueError as error:
        raise SettingError("threshold", str(error)) from error


def check_span(thresholds: Iterable[Threshold], scenario: Scenario) -> None:
    """Refuse a drift in a scenario that is too short to measure one. Raises ``SettingError``."""
    measured = None if scenario.length is None else scenario.length - scenario.warm_up
    for threshold in thresholds:
        if threshold.drift and measured is not None and measured < LEAST_DRIFT_S:
            raise SettingError(
                "threshold",
                f"{threshold.text!r}: a drift needs {show_duration(LEAST_DRIFT_S)}, and {show_duration(measured)} are measured",
            )


def _check_subject(text: str, subject: str, stat: str | None, workflow: AnyWorkflow, *, drift: bool) -> None:
    if stat is None and subject in _COUNTS and not drift:
        return
    if subject == MEMORY and stat is None:
        return
    states, series = [state.name for state in workflow.states], keys.all_series(workflow)
    if subject in (*_COUNTS, MEMORY):
        example = f"{MEMORY} drift < 5%/h" if subject == MEMORY else f"{subject} < 1%"
        raise ValueError(f"{text!r}: {subject!r} has no {'drift' if drift and stat is None else stat}; write it like '{example}'")
    if subject in _STATISTICS and stat is None:
        raise ValueError(
            f"{text!r}: say of which state or segment, like '{series[0]}.{subject} {text.partition(subject)[2].strip()}'"
        )
    if subject == ROUND and stat == "failed" and ROUND in series:
        return
    if stat in SHARES and subject in series and subject not in states:
        raise ValueError(f"{text!r}: {stat!r} is counted for a state, and {subject!r} is not one")
    if subject not in series:
        near = difflib.get_close_matches(subject, [*series, *_COUNTS, MEMORY], n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "known are the states, the segments and 'failed', 'completed', …"
        raise ValueError(f"{text!r}: nothing is measured as {subject!r}; {hint}")
    if stat is None:
        raise ValueError(f"{text!r}: say which statistic of {subject!r}: p50, p95, p99, max, rate, count …")
    if drift and stat in (*SHARES, "count"):
        raise ValueError(f"{text!r}: a drift is that of a percentile, min, max, rate, or of memory")


def _check_limit(text: str, op: str, number: float, unit: str, *, drift: bool) -> None:
    """Refuse a limit that cannot be broken, or cannot be kept: it is a typing error, and would pass, or fail, for ever."""
    if not abs(number) <= _LARGEST:
        raise ValueError(f"{shortened(text)}: the limit is beyond anything that can be measured")
    if drift:
        return  # may be of any size, and negative
    least, most = 0.0, 100.0 if unit == "%" else math.inf
    possible = f"is between 0 and 100{unit}" if unit == "%" else "is never negative"
    always = {"<": number > most, "<=": number >= most, ">": number < least, ">=": number <= least}[op]
    never = {"<": number <= least, "<=": number < least, ">": number >= most, ">=": number > most}[op]
    if always or never:
        raise ValueError(f"{text!r} {'always' if always else 'never'} holds: the value {possible}")


def _units(subject: str, stat: str | None, *, drift: bool) -> Mapping[str, float]:
    if drift:
        return DRIFTS
    if subject == MEMORY:
        return SIZES
    if stat == "rate":
        return RATES
    if stat == "count":
        return {"": 1.0}
    if stat is None or stat in SHARES:
        return {"": 1.0, "%": 1.0}
    return TIMES
