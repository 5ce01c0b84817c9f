"""Run: instances started together, with everything that is needed to resume them on another machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import attrs

from orchestrator.errors import shortened
from orchestrator.lifecycle.decision import OnFailure, OnSuccess
from orchestrator.lifecycle.scenario import Scenario

# Crockford's base 32 in lower case: no letter that can be taken for a digit. Sorts by time.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LONGEST_NUMBER = 10
"""Digits of an instance's number."""
_RUN_ID = re.compile(r"\d{6}-[0-9a-hjkmnp-tv-z]{6}")


class Recorded(StrEnum):
    """Whose exchanges are stored."""

    FAILED = "failed"
    """Of an instance that fails, its last ones."""
    ALL = "all"
    """Of every instance, all of them, each with the checkpoint that it leads to."""


class RunStatus(StrEnum):
    """Whether a run has work left. Stored, never derived."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    CLEANING_UP = "cleaning_up"
    """Its user wants everything removed that it has made: whoever takes it up goes on with that, and never forward."""
    RETRYING = "retrying"
    """It was finished, and its user wants failed instances to go on: whoever takes it up drives those that were put back,
    and starts nothing new."""
    FINISHED = "finished"
    """Nothing is left to do: every instance that was admitted has a terminal status, and no other one will be."""


UNFINISHED = frozenset(RunStatus) - {RunStatus.FINISHED}
"""Statuses of runs that have work left."""


@attrs.frozen(kw_only=True)
class RunRecord:
    """A run as it is stored."""

    id: str
    workflow: str
    version: int
    definition: str
    status: RunStatus
    scenario: Scenario
    settings: Mapping[str, Any]
    """The workflow's settings as JSON data; secret ones sealed."""
    on_failure: OnFailure
    on_success: OnSuccess
    rates: Mapping[str, float]
    """Rate group → attempts per second."""
    thresholds: tuple[str, ...] = ()
    """What the run has to keep to (see :mod:`orchestrator.load.thresholds`)."""
    abort: bool = False
    """Whether a broken threshold ends the scenario."""
    recorded: Recorded = Recorded.FAILED
    """Whose requests are stored."""
    reports: Mapping[str, str] = attrs.field(factory=dict)
    """Reports that the command line writes when the run ends: form (``report``, ``csv``, ``junit``) → path."""
    key_id: str
    """Which key sealed its secrets."""
    created_at: float
    updated_at: float


def new_run_id(now: float) -> str:
    """A fresh run id, e.g. ``261123-k7m3qp``: the day (UTC) and 30 random bits."""
    day = datetime.fromtimestamp(now, UTC).strftime("%y%m%d")
    bits = int.from_bytes(os.urandom(4), "big")
    return f"{day}-" + "".join(_ALPHABET[(bits >> shift) & 31] for shift in range(0, 30, 5))


def parse_id(text: str) -> tuple[str, int | None]:
    """A run id, or a run id and the number of an instance (``261123-k7m3qp-17``), apart.

    Raises:
        ValueError: It is neither.
    """
    run_id, number = text, None
    if text.count("-") == 2:
        run_id, _, tail = text.rpartition("-")
        number = int(tail) if tail.isascii() and tail.isdecimal() and len(tail) <= _LONGEST_NUMBER else -1
    if not _RUN_ID.fullmatch(run_id) or number == -1:
        raise ValueError(f"{shortened(text)} is not the id of a run (like 261123-k7m3qp) or of an instance (261123-k7m3qp-0)")
    return run_id, number
