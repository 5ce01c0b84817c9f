"""Faults on demand: which operation, which fault, how often. They are seeded, so that a run can be repeated.

The format is ``OPERATION:KIND[.CODE][=VALUE][*TIMES][@PERCENT%]``, separated by commas or spaces::

    create_scope:reset_after*1         once, the effect happens and the response is lost
    token:503*2                        twice 503, without an effect
    create_user:500_after              500, although the effect happened
    *:latency=0.02                     20 ms for every call
    *:429=2@5%                         one call in twenty gets 429 with Retry-After: 2
    create_application:403.LICENSE_EXCEEDED   403, with this code in its details
    token:400.invalid_grant            OAuth's error of that name
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from random import Random

import attrs

from states.sandbox.settings import LONGEST_S

_FAULT = re.compile(
    r"(?P<operation>[a-z_]+|\*):(?P<kind>[a-z0-9_]+)(\.(?P<code>[A-Za-z_]+))?(=(?P<value>\d+(\.\d+)?))?(\*(?P<times>\d{1,9}))?(@(?P<percent>\d+(\.\d+)?)%)?"
)


HANG_S = 3600.0
"""Default duration of a hang."""


class FaultKind(StrEnum):
    """The kinds of faults."""

    LATENCY = "latency"
    """The response is delayed by ``value`` seconds."""
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    """The connection breaks, before or after the effect."""
    HANG_BEFORE = "hang_before"
    HANG_AFTER = "hang_after"
    """No response for ``value`` seconds (default ``HANG_S``), before or after the effect."""
    STATUS = "status"
    """Refused with a status, written as the number. ``value`` is its Retry-After: in seconds for 429, as a date for 503."""
    STATUS_AFTER = "status_after"
    """The effect happens, and the response has a status; written ``500_after``."""


@attrs.frozen(kw_only=True)
class Fault:
    """One rule. ``times`` is the number of calls (``None``: all), ``share`` the probability for each call."""

    operation: str
    kind: FaultKind
    status: int = 0
    code: str | None = None
    """The code in the details of the error, or OAuth's ``error``; ``None`` for the usual one of the status."""
    value: float | None = None
    times: int | None = None
    share: float = 1.0

    def __str__(self) -> str:
        if not self.status:
            return self.kind.value
        after, code = "_after" if self.kind is FaultKind.STATUS_AFTER else "", f".{self.code}" if self.code else ""
        return f"{self.status}{after}{code}"


@attrs.define
class _Rule:
    fault: Fault
    left: int | None


class Faults:
    """The rules. The first one that matches a call is played, and all latencies that match."""

    def __init__(self, faults: Iterable[Fault] = (), seed: int | None = None) -> None:
        self._rules = [_Rule(fault, fault.times) for fault in faults]
        self._rng = Random(seed)

    def add(self, fault: Fault) -> None:
        """Add a rule before the others."""
        self._rules.insert(0, _Rule(fault, fault.times))

    def clear(self) -> None:
        """Remove all rules."""
        self._rules.clear()

    def draw(self, operation: str) -> tuple[float, Fault | None]:
        """The latency and the fault for one call."""
        latency, played = 0.0, None
        for rule in self._rules:
            fault = rule.fault
            if fault.operation not in (operation, "*") or rule.left == 0:
                continue
            if played is not None and fault.kind is not FaultKind.LATENCY:
                continue
            if fault.share < 1 and self._rng.random() >= fault.share:
                continue
            if rule.left is not None:
                rule.left -= 1
            if fault.kind is FaultKind.LATENCY:
                latency += fault.value or 0.0
            else:
                played = fault
        return latency, played


def parse_faults(text: str, operations: Collection[str]) -> list[Fault]:
    """The rules in ``text``.

    Raises:
        ValueError: A rule is malformed. The message names it.
    """
    return [_parse(word, operations) for word in re.split(r"[,\s]+", text.strip()) if word]


def _parse(word: str, operations: Collection[str]) -> Fault:
    match = _FAULT.fullmatch(word)
    if match is None:
        raise ValueError(f"fault {word!r} is not of the form OPERATION:KIND[.CODE][=VALUE][*TIMES][@PERCENT%]")
    if match["operation"] != "*" and match["operation"] not in operations:
        raise ValueError(
            f"fault {word!r}: no operation is called {match['operation']!r}; there are {', '.join(sorted(operations))}"
        )
    kind, status = match["kind"], 0
    number = re.fullmatch(r"([45]\d\d)(_after)?", kind)
    if number:
        status, kind = int(number[1]), "status_after" if number[2] else "status"
    elif kind not in {k.value for k in FaultKind} - {"status", "status_after"}:
        raise ValueError(
            f"fault {word!r}: there is no kind {kind!r}; there are latency, reset_before, reset_after, hang_before, "
            "hang_after, a status like 503, and a status like 500_after"
        )
    if match["code"] and not status:
        raise ValueError(f"fault {word!r}: only a status has a code in its details, as in 429.QUOTA_EXCEEDED")
    fault = Fault(
        operation=match["operation"],
        kind=FaultKind(kind),
        status=status,
        code=match["code"],
        value=float(match["value"]) if match["value"] else None,
        times=int(match["times"]) if match["times"] else None,
        share=float(match["percent"]) / 100 if match["percent"] else 1.0,
    )
    problem = _problem(fault)
    if problem:
        raise ValueError(f"fault {word!r}: {problem}")
    return fault


def _problem(fault: Fault) -> str | None:
    """The reason why a rule can never be played."""
    if fault.kind in (FaultKind.RESET_BEFORE, FaultKind.RESET_AFTER) and fault.value is not None:
        return f"{fault.kind} takes no value"
    if fault.kind is FaultKind.LATENCY and fault.value is None:
        return "latency needs its seconds, as in latency=0.02"
    if fault.value is not None and fault.value > LONGEST_S:
        return f"at most {LONGEST_S} seconds are allowed"
    if fault.times == 0:
        return "it must be played at least once, as in *1"
    if not 0 < fault.share <= 1:
        return "the share must be above 0% and at most 100%"
    return None
