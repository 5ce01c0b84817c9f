"""Formats numbers for people."""

from __future__ import annotations


def figure(value: float) -> str:
    """A number with as many digits as help a reader: ``15.0`` for 14.9877, ``1,499`` for 1498.77; a whole one as it is."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"
