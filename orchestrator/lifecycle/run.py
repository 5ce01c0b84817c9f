"""Run: instances that are started together, with all the data needed to resume them on another machine."""

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
from orchestrator.lifecycle.rows import Rows
from orchestrator.lifecycle.scenario import Scenario

# Crockford's base 32 in lower case: no letter looks like a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LONGEST_NUMBER = 10
"""Maximum digits of an instance's number."""
_RUN_ID = re.compile(r"\d{6}-[0-9a-hjkmnp-tv-z]{6}")


class Recorded(StrEnum):
    """Which requests and answers are stored."""

    FAILED = "failed"
    """The latest ones of an instance that fails."""
    ALL = "all"
    """All of them, each with the checkpoint that follows it."""


class RunStatus(StrEnum):
    """Whether a run has work left. This is stored, never derived."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    CLEANING_UP = "cleaning_up"
    """``cleanup`` removes its effects: a resume continues the removal and never runs an instance forward."""
    RETRYING = "retrying"
    """``retry`` continues failed instances: a resume drives those that were put back and starts no new ones."""
    FINISHED = "finished"
    """No work is left: every admitted instance has a final status, and no other instance will be admitted."""


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
    """Limits for its measurements (see :mod:`orchestrator.load.thresholds`)."""
    abort: bool = False
    """Whether a broken threshold ends the scenario."""
    recorded: Recorded = Recorded.FAILED
    """Which requests and answers are stored."""
    reports: Mapping[str, str] = attrs.field(factory=dict)
    """Reports that the command line writes at the end of the run: format (``report``, ``csv``, ``junit``) → path."""
    rows: Rows | None = None
    """The input of its instances, one row for each; ``None``: they have none."""
    key_id: str
    """Id of the key that encrypted its secrets."""
    created_at: float
    updated_at: float


def new_run_id(now: float) -> str:
    """A fresh run id, e.g. ``261123-k7m3qp``: the day (UTC) and 30 random bits."""
    day = datetime.fromtimestamp(now, UTC).strftime("%y%m%d")
    bits = int.from_bytes(os.urandom(4), "big")
    return f"{day}-" + "".join(_ALPHABET[(bits >> shift) & 31] for shift in range(0, 30, 5))


def parse_id(text: str) -> tuple[str, int | None]:
    """Split the id of a run (``261123-k7m3qp``) or of an instance (``261123-k7m3qp-17``) into run id and number.

    Raises:
        ValueError: ``text`` is neither.
    """
    run_id, number = text, None
    if text.count("-") == 2:
        run_id, _, tail = text.rpartition("-")
        number = int(tail) if tail.isascii() and tail.isdecimal() and len(tail) <= _LONGEST_NUMBER else -1
    if not _RUN_ID.fullmatch(run_id) or number == -1:
        raise ValueError(f"{shortened(text)} is not the id of a run (like 261123-k7m3qp) or of an instance (261123-k7m3qp-0)")
    return run_id, number
