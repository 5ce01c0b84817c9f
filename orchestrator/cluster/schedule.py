"""Divides the shards of a run into parts, one for each task of a worker. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import attrs

from orchestrator.driving.plan import Plan
from orchestrator.lifecycle.scenario import Scenario
from orchestrator.lifecycle.share import Share

MOST_SHARDS_PER_PROCESS = 4
"""Of a run that is limited by its number of instances. Small shards keep all processes busy until the end, and little of the work
moves when a process dies."""
TURNS = 4
"""How often each place of a shard is filled, at least: at the end of a shard its places become empty one after the other."""


def runs_at_once(scenario: Scenario, plan: Plan | None = None) -> bool:
    """Whether all shards must be driven at the same time: the scenario is one of time, so that a waiting shard would be missing
    from the load."""
    if plan is not None and not plan.measures:
        return False
    return scenario.is_open or scenario.total is None or scenario.length is not None


def shards_for(scenario: Scenario, processes: int) -> int:
    """The number of shards of a new run."""
    places, wanted = most_places(scenario), processes
    if not runs_at_once(scenario):
        assert scenario.total is not None
        wanted *= max(1, min(MOST_SHARDS_PER_PROCESS, scenario.total // (TURNS * scenario.cap)))
    if wanted <= places:
        return wanted
    return places // processes * processes or places


def most_places(scenario: Scenario) -> int:
    """How many instances a run drives at once."""
    return scenario.cap if scenario.total is None else min(scenario.cap, scenario.total)


@attrs.define(eq=False)
class Part:
    """Shards that one task drives."""

    shards: tuple[int, ...]
    attempts: int = 0
    """Tasks that were started for it."""
    failures: int = 0
    """Tasks that ended with an error of the store, or lost a shard, without progress in between."""
    places: int | None = None
    """Instances that its task may drive at once; ``None``: its share."""


def parts_of(left: Sequence[int], workers: int, *, at_once: bool) -> list[Part]:
    """The parts of the shards that are left: as many as workers if all must be driven at once, otherwise one for each shard."""
    if not at_once:
        return [Part((shard,)) for shard in left]
    count = max(1, min(workers, len(left)))
    return [Part(tuple(left[index::count])) for index in range(count)]


def places_for(scenario: Scenario, slots: int, running: Collection[Part], part: Part, of: int) -> int:
    """How many instances a part may drive at once, so that all together drive as many as the scenario says; 0: it must wait.

    Args:
        of: Number of shards of the run.
    """
    cap = most_places(scenario)
    free = cap - sum(one.places or 0 for one in running)
    own = cap if scenario.total is None else Share(part.shards, of).part(scenario.total)
    return max(0, min(free, math.ceil(cap / slots), own))
