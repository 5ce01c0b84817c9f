"""The controls of a run and of an instance: the ones that can be used now, and the reasons against the others."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import attrs

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.inspection.snapshot import Snapshot
from orchestrator.lifecycle.effects import why_nothing_to_undo
from orchestrator.lifecycle.instance import AnyInstance, Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.web.site import Site


class Action(StrEnum):
    """The actions of a page on a run, or on one instance."""

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

INSTANCE_LABELS = {
    Action.RETRY: ("Retry", "Continue it from the state that failed."),
    Action.CLEAN_UP: ("Roll back", "Remove everything that this instance created; others keep theirs. This cannot be undone."),
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
    """The controls of a run, or of one instance."""

    buttons: tuple[Control, ...]
    why_not: str
    """Why there are no more of them; empty: nothing is missing."""

    def offers(self, action: Action) -> bool:
        """Whether it works now."""
        return action in [control.action for control in self.buttons]


_READ_ONLY = "The page was started with --read-only."
_ONLY_ITS_OWN = "This program drives only its own run. Start `orchestrator web` to continue stored runs from the page."


def controls_of(site: Site, found: Snapshot) -> Controls:
    """The controls that work now."""
    if site.read_only:
        return Controls(buttons=(), why_not=_READ_ONLY)
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
        return _ONLY_ITS_OWN
    return ""


def controls_of_instance(site: Site, record: RunRecord, workflow: AnyWorkflow, instance: AnyInstance) -> Controls:
    """The controls of an instance that work now."""
    if site.read_only:
        return Controls(buttons=(), why_not=_READ_ONLY)
    if not site.can_begin:
        return Controls(buttons=(), why_not=_ONLY_ITS_OWN)
    if record.status is not RunStatus.FINISHED:
        return Controls(buttons=(), why_not="An instance can be retried or rolled back when its run is finished.")
    nothing_left = why_nothing_to_undo(workflow, instance)
    actions = [Action.RETRY] if instance.status is Status.FAILED else []
    actions += [] if nothing_left else [Action.CLEAN_UP]
    return Controls(
        buttons=tuple(_instance_control(action) for action in actions),
        why_not=f"It {nothing_left}." if nothing_left else "",
    )


def _instance_control(action: Action) -> Control:
    label, text = INSTANCE_LABELS[action]
    return Control(action=action, label=label, help=text, asks=action is Action.CLEAN_UP)
