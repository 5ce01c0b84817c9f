"""Plan: how a process drives a run. It is made once, after the claim. Pure.

===========================  =======  ===========================  =========  =============
mode                         admits   drives first                 measures   status
===========================  =======  ===========================  =========  =============
start                        yes      nothing                      yes        running
resume                       yes      interrupted instances        yes        running
resume, the run is finished  no       nothing                      yes        running
retry                        no       failed and interrupted ones  no         retrying
roll back one instance       no       interrupted instances        no         rolling_back
clean up                     no       all that may have effects    no         cleaning_up
===========================  =======  ===========================  =========  =============
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import attrs

from orchestrator.lifecycle.instance import RESUMABLE, Status
from orchestrator.lifecycle.run import RunStatus

MAY_HAVE_EFFECTS = frozenset(Status) - {Status.ROLLED_BACK}
"""Statuses of instances that may have left effects."""


class Mode(Enum):
    """The user's request."""

    START = "start"
    RESUME = "resume"
    RETRY = "retry"
    """Continue the failed instances of a finished run."""
    ROLL_BACK = "roll back"
    """Roll back one instance of a finished run."""
    CLEAN_UP = "clean up"

    @property
    def command(self) -> str:
        """The command that asks for it again."""
        if self is Mode.RETRY:
            return "retry"
        return "cleanup" if self in {Mode.ROLL_BACK, Mode.CLEAN_UP} else "resume"


_CONTINUED: Mapping[RunStatus, Mode] = {
    RunStatus.CLEANING_UP: Mode.CLEAN_UP,
    RunStatus.RETRYING: Mode.RETRY,
    RunStatus.ROLLING_BACK: Mode.ROLL_BACK,
}
"""Resuming a run that was interrupted in one of these modes continues it."""


@attrs.frozen(kw_only=True)
class Plan:
    """See the table of the module."""

    mode: Mode
    admits: bool = False
    """Whether new instances are admitted."""
    drives: frozenset[Status] = frozenset()
    """Statuses of the stored instances that are driven first."""
    resets: bool = False
    """Whether ended instances are first reset: failed ones to the state that failed, or one instance to its rollback."""
    measures: bool = True
    """Whether the work belongs to the scenario: its time counts, and it is measured."""
    meanwhile: RunStatus = RunStatus.RUNNING
    """Status of the run while it is driven."""

    @property
    def cleans_up(self) -> bool:
        """Whether all stored instances are rolled back, whichever status they have."""
        return self.mode is Mode.CLEAN_UP

    @property
    def touches(self) -> frozenset[Status]:
        """Statuses of the instances that must fit the installed definition. (One to roll back is checked by itself.)"""
        return self.drives | ({Status.FAILED} if self.resets and self.mode is Mode.RETRY else frozenset())


def plan_for(asked: Mode, status: RunStatus) -> Plan:
    """Return the plan for a run with this status.

    Args:
        asked: The user's request; a resumed clean-up, rollback or retry is continued.
    """
    mode = _CONTINUED.get(status, Mode.RESUME) if asked is Mode.RESUME else asked
    if mode is Mode.START:
        return Plan(mode=mode, admits=True)
    if mode is Mode.CLEAN_UP:
        return Plan(mode=mode, drives=MAY_HAVE_EFFECTS, measures=False, meanwhile=RunStatus.CLEANING_UP)
    if mode is Mode.RETRY or mode is Mode.ROLL_BACK:
        meanwhile = RunStatus.RETRYING if mode is Mode.RETRY else RunStatus.ROLLING_BACK
        return Plan(mode=mode, drives=RESUMABLE, resets=asked is mode, measures=False, meanwhile=meanwhile)
    if status is RunStatus.FINISHED:
        return Plan(mode=mode)
    return Plan(mode=mode, admits=True, drives=RESUMABLE)
