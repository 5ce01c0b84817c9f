"""Lists of runs: which ones, in pages that stay the same while new runs are stored."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

import attrs

from orchestrator.lifecycle.run import RunRecord, RunStatus

PAGE = 100
"""Runs on a page, unless the caller says otherwise."""


def _statuses(given: Collection[RunStatus] | None) -> frozenset[RunStatus] | None:
    return None if given is None else frozenset(given)


@attrs.frozen(kw_only=True)
class RunFilter:
    """The runs that meet every condition. Times are Unix seconds."""

    statuses: frozenset[RunStatus] | None = attrs.field(default=None, converter=_statuses)
    """``None``: any status."""
    workflow: str | None = None
    """``None``: any workflow."""
    since: float | None = None
    """Started at this time or later."""
    before: float | None = None
    """Started earlier than this."""

    def accepts(self, run: RunRecord) -> bool:
        """Whether a run meets the conditions."""
        return (
            (self.statuses is None or run.status in self.statuses)
            and (self.workflow is None or run.workflow == self.workflow)
            and (self.since is None or run.created_at >= self.since)
            and (self.before is None or run.created_at < self.before)
        )


ALL_RUNS = RunFilter()


@attrs.frozen(order=True)
class RunCursor:
    """A place in the order of runs, which is by start and then by id. It stays valid when its run is deleted."""

    created_at: float
    run_id: str

    @classmethod
    def of(cls, run: RunRecord) -> Self:
        """The place of this run."""
        return cls(run.created_at, run.id)


@attrs.frozen(kw_only=True)
class RunPage:
    """A page of runs, newest first."""

    runs: tuple[RunRecord, ...]
    total: int
    """Runs that the filter accepts, on all pages."""
    next: RunCursor | None
    """Pass it as ``after`` to get the next page; ``None``: this is the last one."""

    @classmethod
    def cut(cls, found: list[RunRecord], limit: int, total: int) -> Self:
        """A page of the first ``limit`` runs; ``found`` holds one more if there is a next page."""
        shown = tuple(found[:limit])
        return cls(runs=shown, total=total, next=RunCursor.of(shown[-1]) if len(found) > limit and shown else None)
