"""Decides whether a broken threshold ends a scenario (``--abort``): only if the run is almost certain to break it. Pure functions.

A threshold that is broken now may hold at the end: one failure among the first twenty instances is 5 %, the first answers of a
server are slow, a rate is zero before the first round is done. Rules of this file:

* A **certain** violation ends a scenario at once: a number that only grows has passed its limit, or so many instances have failed
  that the share is too high even if all others complete.
* Otherwise there must be **evidence**: if the limit were just kept, such numbers would be seen once in a billion checks (Chernoff
  bounds on binomial and Poisson tails). That needs about ten ended instances, or more.
* The violation must also **continue**: the first seconds do not count, and each of the latest windows breaks the threshold too.
* ``rate >`` needs a constant load, users who are all in their rounds, and time for several rounds.
* ``missed`` is known at the end only. It ends a scenario of a constant rate if arrivals start more slowly than they are due, so that
  too many will be missed if this continues. A drift never ends a scenario.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.pauses import ThinkTimeKind
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.series import INSTANCE, ROUND, STARTED
from orchestrator.load.thresholds import Measured, Threshold
from orchestrator.load.window import Window

SETTLED_S = 10.0
"""Measured time before a violation that is not certain ends a scenario."""
LATEST_S = 6.0
"""Latest measured time, in which the threshold must be broken too."""
LEAST = 10
"""Minimum of ended instances, calls or measurements for a share."""
DOUBT = math.log(1e9)
"""Required evidence. A check every two seconds for a month makes a million checks."""
_CYCLES = 3
"""Rounds or instances that must fit into the time in which a rate is judged."""
_FULL = 0.9
"""Share of the wanted users at which the load counts as complete."""
_LATE_END = 1.05
"""A scenario may end a moment late: then its rates are lower."""


def ends_scenario(threshold: Threshold, measured: Measured, scenario: Scenario) -> bool:
    """Whether this threshold is broken for good."""
    if threshold.subject == "missed":
        return _will_miss(threshold, measured, scenario)
    verdict = threshold.judge(measured)
    if verdict.holds or verdict.value is None or threshold.drift:
        return False
    upper = threshold.op in ("<", "<=")
    if threshold.only_grows:
        return upper
    if threshold.stat == "min":
        return not upper
    if threshold.stat == "rate":
        return _many(threshold, measured, scenario) if upper else _few(threshold, measured, scenario)
    if threshold.percentile is None and _certain(threshold, measured, scenario):
        return True
    if threshold.subject == "late" or not _goes_on(threshold, measured.statistics.windows):
        return False
    return _has_evidence(*threshold.against(measured))


def _certain(threshold: Threshold, measured: Measured, scenario: Scenario) -> bool:
    """Whether it remains broken even if all further instances complete; for shares of a known number of instances."""
    if threshold.subject not in ("failed", "completed", "leftovers", "late") or scenario.total is None:
        return False
    bad, _, allowed = threshold.against(measured)
    share = bad / scenario.total
    return share > allowed or (share == allowed and threshold.op in ("<", ">"))


def _has_evidence(bad: int, whole: int, allowed: float) -> bool:
    """Whether ``bad`` of ``whole`` are too many to come from a process with the share ``allowed``: the exponent of the Chernoff
    bound on the upper tail of the binomial distribution, whole * KL(bad / whole, allowed)."""
    if whole < LEAST or bad <= allowed * whole or allowed >= 1:
        return False
    if allowed <= 0:
        return True
    share = bad / whole
    good = (1 - share) * math.log((1 - share) / (1 - allowed)) if share < 1 else 0.0
    return whole * (share * math.log(share / allowed) + good) >= DOUBT


def _will_miss(threshold: Threshold, measured: Measured, scenario: Scenario) -> bool:
    """Whether too many arrivals will be missed, by the rate of starts so far and recently. A stall does not count, because the backlog
    may be caught up. In a ramp the first rates do not predict the later ones."""
    expected, total = measured.expected_missed, scenario.total
    if scenario.rate is None or scenario.ends_at is None or total is None or threshold.op not in ("<", "<="):
        return False
    latest = _latest(measured.statistics.windows)
    if not latest or not all(0 < window.rate(STARTED) < scenario.rate for window in latest):
        return False
    rate = sum(window.counters[STARTED] for window in latest) / sum(window.width for window in latest)
    started = sum(count for status, count in measured.counts.items() if status is not Status.PENDING)
    left = total - started - rate * (scenario.ends_at - measured.statistics.elapsed)
    return not threshold.judge(attrs.evolve(measured, missed=min(expected, int(left)), due=total)).holds


def _many(threshold: Threshold, measured: Measured, scenario: Scenario) -> bool:
    """For an upper limit of a rate: the count is already too high for the whole time."""
    if scenario.length is None:
        return False
    return measured.statistics.ended(threshold.subject) > _LATE_END * threshold.limit * (scenario.length - scenario.warm_up)


def _few(threshold: Threshold, measured: Measured, scenario: Scenario) -> bool:
    """For a lower limit of a rate: too few since the load is complete (Chernoff bound on the lower tail of the Poisson
    distribution)."""
    if scenario.stages or scenario.rate_stages or scenario.changes or (scenario.is_open and scenario.rounds != 1):
        return False  # the load grows: a rate that is too low now may be high enough on average
    unit = measured.statistics.latency(ROUND if scenario.rounds != 1 else INSTANCE)
    windows = _since_full(threshold, measured.statistics.windows, scenario)
    if unit is None or not windows:
        return False
    # The first window is left out: the moment of the first end within it is unknown.
    seconds, pause = sum(window.width for window in windows[1:]), _longest_pause(scenario)
    if seconds < max(SETTLED_S, _CYCLES * (unit.max + pause)) or not _goes_on(threshold, windows):
        return False
    found = sum(latency.count for window in windows if (latency := window.latencies.get(threshold.subject)))
    # At the end of the time all instances end at once, before their number of rounds is complete.
    found += scenario.cap if scenario.rounds != 1 else 0
    expected = threshold.limit * seconds
    if found >= expected:
        return False
    return expected - found + (found * math.log(found / expected) if found else 0.0) >= DOUBT


def _since_full(threshold: Threshold, windows: Sequence[Window], scenario: Scenario) -> Sequence[Window]:
    """The measured windows since the load was complete and the first counted unit had ended."""
    kept = [window for window in windows if window.is_measured]
    full = started = False
    for place, window in enumerate(kept):
        full = full or scenario.is_open or scenario.rounds == 1 or window.offered >= _FULL * window.wanted > 0
        started = started or threshold.subject in window.latencies
        if full and started:
            return kept[place:]
    return ()


def _longest_pause(scenario: Scenario) -> float:
    if scenario.think_time is None:
        return 0.0
    return (
        3 * scenario.think_time.low
        if scenario.think_time.kind is ThinkTimeKind.EXPONENTIAL
        else max(scenario.think_time.low, scenario.think_time.high)
    )


def _goes_on(threshold: Threshold, windows: Sequence[Window]) -> bool:
    """Whether each of the latest windows with measurements breaks it."""
    found = [holds for window in _latest(windows) if (holds := threshold.holds_in(window)) is not None]
    return bool(found) and not any(found)


def _latest(windows: Sequence[Window]) -> Sequence[Window]:
    """The measured windows of the last ``LATEST_S``; none within the first ``SETTLED_S``."""
    kept = [window for window in windows if window.is_measured]
    if sum(window.width for window in kept) < SETTLED_S:
        return ()
    latest: list[Window] = []
    while len(latest) < len(kept) and sum(window.width for window in latest) < LATEST_S:
        latest.append(kept[-1 - len(latest)])
    return latest
