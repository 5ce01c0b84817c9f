"""Effects: the objects that an instance has created, or may have created, on the other side."""

from __future__ import annotations

import random
from typing import Any

from orchestrator.clock import SystemClock
from orchestrator.definition.state import Effect, Step
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.lifecycle.instance import RESUMABLE, AnyInstance, Status

_CLOCK, _RNG = SystemClock(), random.Random(0)  # not used: a state describes its effect from the context alone


def effects_of(workflow: AnyWorkflow, instance: AnyInstance) -> list[tuple[str, Effect]]:
    """The effects of an instance, oldest first, each with its state."""
    states = [left.state for left in reversed(instance.leftovers)] + list(instance.trail)
    if instance.status in RESUMABLE and instance.position in workflow.state_named and instance.position not in states:
        states.append(instance.position)
    step = _step(instance)
    found = []
    for name in states:
        state = workflow.state_named.get(name)
        effect = state.effect(step) if state is not None else None
        # The current state counts only if an attempt at it may have had its effect.
        unseen = name == instance.position and not instance.doubt and instance.status is Status.SUSPENDED
        if effect is not None and not unseen:
            found.append((name, effect))
    return found


def why_nothing_to_undo(workflow: AnyWorkflow, instance: AnyInstance) -> str:
    """Why an ended instance has nothing to roll back, as a predicate of it; empty: it has something."""
    if instance.status is Status.ROLLED_BACK:
        return "is rolled back already"
    states = workflow.state_named
    if instance.leftovers or any(name not in states or states[name].can_roll_back for name in instance.trail):
        return ""
    return "has nothing to roll back: nothing of it exists"


def _step(instance: AnyInstance) -> Step[Any, Any]:
    return Step(
        run_id=instance.run_id,
        number=instance.number,
        attempt=instance.failures + 1,
        context=instance.context,
        services=None,
        clock=_CLOCK,
        rng=_RNG,
    )
