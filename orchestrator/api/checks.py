"""Rejects the arguments of a run that cannot work, before anything is stored or sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.errors import SettingError
from orchestrator.lifecycle.bounds import FASTEST, LEAST_RATE, RATES_SHOWN
from orchestrator.lifecycle.run import Recorded
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.load.estimate import check_groups, check_time
from orchestrator.load.threshold_parser import check_span, parse_all

if TYPE_CHECKING:
    pass


ROUNDS_RECORDED = 100
"""Recording every request takes some 50 kB of the store per round; a soak would fill the disk."""


def check(
    workflow: AnyWorkflow,
    scenario: Scenario,
    rates: Mapping[str, float],
    thresholds: Sequence[str],
    recorded: Recorded = Recorded.FAILED,
) -> None:
    """Reject invalid arguments before anything else; :func:`start` calls it first. Raises ``SettingError``."""
    if recorded is Recorded.ALL and not 1 <= scenario.rounds <= ROUNDS_RECORDED:
        raise SettingError(
            "record", f"all requests can be stored for at most {ROUNDS_RECORDED} rounds per instance; give fewer rounds"
        )
    if workflow.round_start is None and (scenario.rounds != 1 or scenario.reuse is not None):
        name = "rounds" if scenario.rounds != 1 else "reuse"
        raise SettingError(name, f"the workflow {workflow.name!r} has no rounds")
    for group, rate in rates.items():
        if not LEAST_RATE <= rate <= FASTEST:
            raise SettingError(
                "rates", f"{group}={rate:g} is not between {RATES_SHOWN} a second; leave the group out for no limit"
            )
    check_span(parse_all(thresholds, workflow), scenario)
    check_groups(workflow, rates)
    check_time(workflow, scenario, rates)


def check_shards(scenario: Scenario, shards: int) -> None:
    """Reject more shards than can have work: each needs a place and an instance. Raises ``SettingError``."""
    places = min(scenario.cap, scenario.cap if scenario.total is None else scenario.total)
    if shards < 1:
        raise SettingError("shards", f"{shards} is less than 1")
    if shards > places:
        raise SettingError("shards", f"{shards} is more than {places}, the number of concurrent instances")
