"""Plan: how a process drives a run. It is made once, after the claim. Pure.

===========================  =======  ===========================  =========  =============
mode                         admits   drives first                 measures   status
===========================  =======  ===========================  =========  =============
start                        yes      nothing                      yes        running
resume                       yes      interrupted instances        yes        running
resume, the run is finished  no       nothing                      yes        running
retry                        no       failed and interrupted ones  no         retrying
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
    CLEAN_UP = "clean up"


_CONTINUED: Mapping[RunStatus, Mode] = {RunStatus.CLEANING_UP: Mode.CLEAN_UP, RunStatus.RETRYING: Mode.RETRY}
"""Resuming a run that was interrupted in a clean-up or a retry continues that mode."""


@attrs.frozen(kw_only=True)
class Plan:
    """See the table of the module."""

    mode: Mode
    admits: bool = False
    """Whether new instances are admitted."""
    drives: frozenset[Status] = frozenset()
    """Statuses of the stored instances that are driven first."""
    puts_back: bool = False
    """Whether failed instances are first reset to the state that failed."""
    measures: bool = True
    """Whether the work belongs to the scenario: its time counts, and it is measured."""
    meanwhile: RunStatus = RunStatus.RUNNING
    """Status of the run while it is driven."""

    @property
    def rolls_back(self) -> bool:
        """Whether stored instances are rolled back, whichever status they have."""
        return self.mode is Mode.CLEAN_UP

    @property
    def touches(self) -> frozenset[Status]:
        """Statuses of the instances that must fit the installed definition."""
        return self.drives | ({Status.FAILED} if self.puts_back else frozenset())


def plan_for(asked: Mode, status: RunStatus) -> Plan:
    """Return the plan for a run with this status.

    Args:
        asked: The user's request; a resumed clean-up or retry is continued.
    """
    mode = _CONTINUED.get(status, Mode.RESUME) if asked is Mode.RESUME else asked
    if mode is Mode.START:
        return Plan(mode=mode, admits=True)
    if mode is Mode.CLEAN_UP:
        return Plan(mode=mode, drives=MAY_HAVE_EFFECTS, measures=False, meanwhile=RunStatus.CLEANING_UP)
    if mode is Mode.RETRY:
        puts_back = asked is Mode.RETRY
        return Plan(mode=mode, drives=RESUMABLE, puts_back=puts_back, measures=False, meanwhile=RunStatus.RETRYING)
    if status is RunStatus.FINISHED:
        return Plan(mode=mode)
    return Plan(mode=mode, admits=True, drives=RESUMABLE)
