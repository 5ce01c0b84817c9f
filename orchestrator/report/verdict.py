"""The verdict on a run: its exit code, and the same in words."""

from __future__ import annotations

from orchestrator.inspection.summary import Summary
from orchestrator.lifecycle.instance import Status
from orchestrator.report.exit_codes import ExitCode

VERDICTS = {
    ExitCode.SUCCESS: (True, "passed"),
    ExitCode.FAILED: (False, "instances failed"),
    ExitCode.LEFTOVERS: (False, "leftovers remain"),
    ExitCode.THRESHOLD: (False, "a threshold was broken"),
    ExitCode.INTERRUPTED: (False, "not finished"),
}
"""Exit code → whether the run was a success, and why in a few words."""


def exit_code(summary: Summary, *, cleaning: bool = False) -> ExitCode:
    """The exit code of a run; a clean-up succeeds when nothing is left."""
    if summary.unfinished:
        return ExitCode.INTERRUPTED
    if summary.counts.get(Status.ROLLBACK_FAILED):
        return ExitCode.LEFTOVERS
    if not cleaning and (summary.broken or summary.aborted):
        return ExitCode.THRESHOLD
    if not cleaning and not summary.failures_allowed and summary.unexcused:
        return ExitCode.FAILED
    return ExitCode.SUCCESS
