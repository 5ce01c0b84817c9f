"""Pruning: deletes old runs of a store that are finished and no longer needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import anyio.to_thread
import attrs

from orchestrator.clock import SystemClock
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.errors import SettingError, UnknownRunError
from orchestrator.inspection.stored_run import every_run
from orchestrator.lifecycle.bounds import LONGEST_S
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.storage.base import Store, WallClock
from orchestrator.storage.listing import RunFilter

MOST_KEPT = 10_000
"""Maximum of ``keep``; the runs are read to find where the others begin."""


@attrs.frozen(kw_only=True)
class PruneResult:
    """The runs that :func:`prune` found, newest first."""

    deleted: tuple[str, ...]
    """Deleted runs; with ``dry_run`` those that would be."""
    kept: Mapping[str, str]
    """Runs that were old enough and stay → the reason, for people."""
    freed: int = 0
    """Bytes by which the file of the store has shrunk."""


async def prune(
    store: Store,
    *,
    older_than: float | None = None,
    keep: int | None = None,
    statuses: Collection[RunStatus] | None = None,
    workflow: str | None = None,
    dry_run: bool = False,
    workflows: Iterable[AnyWorkflow] = (),
    directory: Path | None = None,
    clock: WallClock | None = None,
) -> PruneResult:
    """Delete finished runs that nothing needs: no process drives them, no effect of theirs may exist, and no stored run reuses them.

    Each run disappears in one transaction that checks this. The space is given back in small parts, so that processes that drive
    runs do not wait. Other processes may prune at the same time. If it is cancelled, the next call deletes the rest.

    Args:
        older_than: Seconds since the end of the run; ``None``: any age.
        keep: Number of the newest runs that stay, of any age; ``None``: none.
        statuses: Consider only runs with these statuses; unfinished ones are never deleted, but reported.
        workflow: Consider only runs of this workflow.
        dry_run: Delete nothing.
        workflows: Definitions that delete the files of their services (see ``Workflow.forget``).
        directory: The directory of these files, as in :class:`~orchestrator.Options`.

    Raises:
        SettingError: Neither ``older_than`` nor ``keep`` is given, or one has an impossible value.
        StoreError: The store cannot be used. Runs that are deleted already stay deleted.
    """
    _check(older_than, keep)
    now = (clock or SystemClock()).now()
    ended_before = None if older_than is None else now - older_than
    forget = {known.name: known.forget for known in workflows}
    deleted: list[str] = []
    kept: dict[str, str] = {}
    async for run in _candidates(store, RunFilter(statuses=statuses, workflow=workflow), keep or 0, ended_before):
        try:
            usage = await (store.usage(run.id) if dry_run else store.delete_run(run.id))
        except UnknownRunError:
            continue  # another process has just deleted it
        # With dry_run, runs that reuse this one would be gone by now, because they are newer.
        if (why := usage.obstacle(deleted if dry_run else ())) is not None:
            kept[run.id] = why
            continue
        deleted.append(run.id)
        if not dry_run and directory is not None and run.workflow in forget and run.scenario.reuse is None:
            with suppress(OSError):  # the run is gone, and a file without a run does no harm
                await anyio.to_thread.run_sync(forget[run.workflow], run.id, directory)
    if dry_run:
        return PruneResult(deleted=tuple(deleted), kept=kept)
    await store.sweep()
    return PruneResult(deleted=tuple(deleted), kept=kept, freed=await store.compact())


def _check(older_than: float | None, keep: int | None) -> None:
    if older_than is None and keep is None:
        raise SettingError("older-than", "say which runs may go: those older than 30d, or all but the newest with keep")
    if older_than is not None and not 0 <= older_than <= LONGEST_S:
        raise SettingError("older-than", f"{older_than:g} s is not between 0 and a year")
    if keep is not None and not 0 <= keep <= MOST_KEPT:
        raise SettingError("keep", f"{keep} is not between 0 and {MOST_KEPT}")


async def _candidates(store: Store, wanted: RunFilter, keep: int, ended_before: float | None) -> AsyncIterator[RunRecord]:
    """The runs behind the newest ``keep`` that ended before this time, newest first."""
    behind = None
    if keep:
        newest = await store.runs(wanted, limit=keep)
        if newest.next is None:
            return
        behind = newest.next
    # A run cannot have ended before it started.
    async for run in every_run(store, attrs.evolve(wanted, before=ended_before), after=behind):
        if ended_before is None or run.updated_at < ended_before:
            yield run
