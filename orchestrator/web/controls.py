"""The controls of a run: which of them work now, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import attrs

from orchestrator.inspection.snapshot import Snapshot
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.web.site import Site


class Action(StrEnum):
    """What a page can do to a run."""

    STOP = "stop"
    RESUME = "resume"
    RETRY = "retry"
    CLEAN_UP = "cleanup"


LABELS = {
    Action.STOP: ("Stop", "Attempts in flight finish, the rest is suspended. Resume continues the run."),
    Action.RESUME: ("Resume", "Continue the unfinished instances, then start the rest."),
    Action.RETRY: ("Retry failed", "Continue the instances that failed and were kept, each from the state that failed."),
    Action.CLEAN_UP: ("Clean up", "Remove everything that the run created. This cannot be undone."),
}


@attrs.frozen(kw_only=True)
class Control:
    """A button."""

    action: Action
    label: str
    help: str
    asks: bool
    """Whether the page asks before it acts."""


@attrs.frozen(kw_only=True)
class Controls:
    """The controls of a run."""

    buttons: tuple[Control, ...]
    why_not: str
    """Why there are no more of them; empty: nothing is missing."""


def controls_of(site: Site, found: Snapshot) -> Controls:
    """The controls that work now."""
    if site.read_only:
        return Controls(buttons=(), why_not="The page was started with --read-only.")
    actions = list(_actions(site, found))
    return Controls(
        buttons=tuple(_control(action) for action in actions),
        why_not=_why_not(site, found, actions),
    )


def _control(action: Action) -> Control:
    label, text = LABELS[action]
    return Control(action=action, label=label, help=text, asks=action is Action.CLEAN_UP)


def _actions(site: Site, found: Snapshot) -> Iterator[Action]:
    status = found.record.status
    if found.is_driven:
        if site.drives.get(found.record.id) is not None:
            yield Action.STOP
        return
    if not site.can_begin:
        return
    if status is not RunStatus.FINISHED and status is not RunStatus.CLEANING_UP:
        yield Action.RESUME
    if status is RunStatus.FINISHED and found.counts.get(Status.FAILED):
        yield Action.RETRY
    if found.effects or found.counts.get(Status.ROLLBACK_FAILED) or status is RunStatus.CLEANING_UP:
        yield Action.CLEAN_UP


def _why_not(site: Site, found: Snapshot, actions: list[Action]) -> str:
    if found.is_driven and Action.STOP not in actions:
        return "Another process drives this run: stop it there."
    if not found.is_driven and not site.can_begin:
        return "This program drives only its own run. Start `orchestrator web` to continue stored runs from the page."
    return ""


def can_act(site: Site, is_driven: bool, record: RunRecord) -> bool:
    """Whether an instance of this run can be retried now."""
    return site.can_begin and not is_driven and record.status is RunStatus.FINISHED
