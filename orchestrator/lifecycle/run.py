"""Run: instances that are started together, with all the data needed to resume them on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

from orchestrator.lifecycle.bounds import UNBOUNDED
from orchestrator.lifecycle.decision import OnFailure, OnSuccess
from orchestrator.lifecycle.rows import Rows
from orchestrator.lifecycle.scenario import Scenario


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
    ROLLING_BACK = "rolling_back"
    """``cleanup`` rolls back one instance: a resume continues that rollback and starts nothing else."""
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

    @property
    def total(self) -> int:
        """Maximum number of instances; ``UNBOUNDED``: only time limits it. Without rows, there are no further instances."""
        total = UNBOUNDED if self.scenario.total is None else self.scenario.total
        return total if self.rows is None or self.rows.repeat else min(total, self.rows.count)
