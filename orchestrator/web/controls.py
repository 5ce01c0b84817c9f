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
    CHANGE = "change"
    """Another rate, or another concurrency."""


LABELS = {
    Action.STOP: (
        "Stop",
        "Within about a second, attempts in flight finish and the rest is suspended. Resume continues the run.",
    ),
    Action.RESUME: ("Resume", "Continue the unfinished instances, then start the rest."),
    Action.RETRY: ("Retry failed", "Continue the instances that failed and were kept, each from the state that failed."),
    Action.CLEAN_UP: ("Clean up", "Remove everything that the run created. This cannot be undone."),
    Action.CHANGE: ("Change", "Takes effect a few seconds later, in all processes that drive the run."),
}


@attrs.frozen(kw_only=True)
class Control:
    """A button."""

    action: Action
    label: str
    help: str
    asks: bool
    """Whether the page asks before it acts."""
    field: str = ""
    """Label of the number that it needs."""
    value: str = ""
    """That number as it is now."""


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
        buttons=tuple(_control(action, found) for action in actions),
        why_not=_why_not(site, found),
    )


def _control(action: Action, found: Snapshot) -> Control:
    label, text = LABELS[action]
    control = Control(action=action, label=label, help=text, asks=action is Action.CLEAN_UP)
    if action is not Action.CHANGE:
        return control
    scenario = found.record.scenario
    if scenario.is_open:
        return attrs.evolve(control, field="arrivals per second", value=f"{scenario.rate_at(found.elapsed):g}")
    return attrs.evolve(control, field="at once", value=str(scenario.concurrency_at(found.elapsed)))


def _actions(site: Site, found: Snapshot) -> Iterator[Action]:
    status = found.record.status
    if found.is_driven:
        yield Action.STOP
        if status is RunStatus.RUNNING and _can_change(found):
            yield Action.CHANGE
        return
    if not site.can_begin:
        return
    if status is not RunStatus.FINISHED and status is not RunStatus.CLEANING_UP:
        yield Action.RESUME
    if status is RunStatus.FINISHED and found.counts.get(Status.FAILED):
        yield Action.RETRY
    if found.effects or found.counts.get(Status.ROLLBACK_FAILED) or status is RunStatus.CLEANING_UP:
        yield Action.CLEAN_UP


def _can_change(found: Snapshot) -> bool:
    """Whether there is something left that a change can have an effect on."""
    length = found.record.scenario.length
    return found.record.scenario.total != 1 and (length is None or found.elapsed < length)


def _why_not(site: Site, found: Snapshot) -> str:
    if not found.is_driven and not site.can_begin:
        return "This program drives only its own run. Start `orchestrator web` to continue stored runs from the page."
    return ""


def can_act(site: Site, is_driven: bool, record: RunRecord) -> bool:
    """Whether an instance of this run can be retried now."""
    return site.can_begin and not is_driven and record.status is RunStatus.FINISHED
