"""Estimates before a run starts: its shortest duration at its rates, and the quotas of the tenant that it needs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

from orchestrator.definition.workflow import AnyWorkflow, Quota
from orchestrator.errors import ConfigurationError, SettingError
from orchestrator.lifecycle.decision import OnSuccess
from orchestrator.lifecycle.duration import show_duration
from orchestrator.lifecycle.scenario import Scenario


@attrs.frozen(kw_only=True)
class Estimate:
    """The shortest duration of a run at its rates, in seconds."""

    group: str
    """The rate group that takes the longest."""
    rate: float
    calls: int
    """Attempts of that group for one instance, teardown included."""
    instances: int
    seconds: float
    """At least, for all of these instances."""

    def __str__(self) -> str:
        return (
            f"{self.instances} instance{'s' if self.instances != 1 else ''} with {self.calls} {self.group} attempts each, at "
            f"{self.rate:g}/s: at least {show_duration(round(self.seconds))}"
        )


def estimate(workflow: AnyWorkflow, scenario: Scenario, rates: Mapping[str, float], on_success: OnSuccess) -> Estimate | None:
    """The shortest duration of creation (and teardown); ``None``: no rate limits it."""
    instances = scenario.total if scenario.total is not None else scenario.cap
    found = []
    for group, calls in _calls(workflow, scenario, on_success).items():
        if group in rates:
            seconds = instances * calls / rates[group]
            found.append(Estimate(group=group, rate=rates[group], calls=calls, instances=instances, seconds=seconds))
    return max(found, key=lambda one: one.seconds, default=None)


def check_groups(workflow: AnyWorkflow, rates: Mapping[str, float]) -> None:
    """Refuse a rate for a group without states: it would be a typing error, and limit nothing. Raises ``SettingError``."""
    known = sorted({state.rate_group for state in workflow.states if state.rate_group})
    for group in rates:
        if group not in known:
            raise SettingError(
                "rates", f"{group!r} is not a rate group of {workflow.name!r}; known: {', '.join(known) or 'none'}"
            )


def check_time(workflow: AnyWorkflow, scenario: Scenario, rates: Mapping[str, float]) -> None:
    """Refuse a scenario whose time is too short to start its instances at its rates.

    Raises:
        SettingError: With the group, and the time that it takes.
    """
    if scenario.length is None:
        return
    wanted = scenario.least
    for group, calls in _calls(workflow, scenario, OnSuccess.KEEP).items():
        if group in rates and wanted * calls / rates[group] > scenario.length:
            needs = show_duration(round(wanted * calls / rates[group]))
            raise SettingError(
                "duration" if scenario.duration is not None else "stages",
                f"{show_duration(scenario.length)} is too short: {wanted} instance{'s' if wanted != 1 else ''} with {calls} "
                f"{group} attempts each take at least {needs} at {rates[group]:g}/s; take fewer, more time, or instances that "
                "are there already (reuse)",
            )


def check_quotas(rooms: Mapping[str, Quota], scenario: Scenario, on_success: OnSuccess) -> None:
    """Refuse a scenario that makes more than the other side can hold.

    Raises:
        ConfigurationError: It names the existing objects, the quota, and the need of the scenario.
    """
    if scenario.reuse is not None:
        return
    if on_success is OnSuccess.TEARDOWN:
        needed, when = min(scenario.cap, scenario.total or scenario.cap), "at once"
    else:
        # Of as many as the time allows, the first ones; the other side will say when it is full.
        needed, when = scenario.least, "in all" if scenario.total is not None else "at once"
    for kind, room in rooms.items():
        if room.existing + needed > room.most:
            raise ConfigurationError(
                f"there is no room for this: {room.existing} of at most {room.most} {kind}s exist, and the scenario needs up to "
                f"{needed} more {when}; take fewer instances, tear down on success, or clean up objects that are not needed"
            )


def _calls(workflow: AnyWorkflow, scenario: Scenario, on_success: OnSuccess) -> Counter[str]:
    """Rate group → attempts of one instance: before its rounds, and to tear it down."""
    calls: Counter[str] = Counter()
    if scenario.reuse is not None:
        return calls
    for state in workflow.states:
        if state.name == workflow.round_start:
            break
        if state.rate_group:
            calls[state.rate_group] += 1 + (on_success is OnSuccess.TEARDOWN and state.can_roll_back)
    return calls
