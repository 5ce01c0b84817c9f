"""Durations as people write them."""

from __future__ import annotations

import pytest

from orchestrator.lifecycle.duration import parse_duration, show_duration


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1h30m", 5400), ("250ms", 0.25), ("2m5s", 125), ("1.5s", 1.5)])
def test_durations(text, seconds) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5 s", "1x", "-5s", "5s3", "nan", "1e3"])
def test_an_invalid_duration_is_refused(text) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_durations_are_shown_as_they_are_written() -> None:
    assert [show_duration(s) for s in (0.5, 30, 125, 5400, 3600)] == ["0.5s", "30s", "2m5s", "1h30m", "1h"]
