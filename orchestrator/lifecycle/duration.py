"""Durations as people write them: ``1h30m``. Pure."""

from __future__ import annotations

import re

from orchestrator.errors import shortened
from orchestrator.lifecycle.bounds import LONGEST_S

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d)")


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``1h30m``, ``250ms``; a bare number is seconds.

    Raises:
        ValueError: ``text`` is not a duration.
    """
    text = text.strip()
    parts = [(text, "s")] if re.fullmatch(r"\d+(?:\.\d+)?", text) else _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) not in (text, f"{text}s"):
        raise ValueError(f"{shortened(text)} is not a duration (like 30s, 2m or 1h30m)")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > LONGEST_S:
        raise ValueError(f"{shortened(text)} is longer than a year")
    return seconds


def show_duration(seconds: float) -> str:
    """Seconds as text for people: ``1h30m``, ``2m5s``, ``0.5s``."""
    if seconds < 60:
        return f"{seconds:g}s"
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    return "".join(f"{number}{unit}" for number, unit in parts if number)
