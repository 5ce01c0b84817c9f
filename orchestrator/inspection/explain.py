"""Explains one instance: its status and the reason, the next step, and the effects that a rollback would remove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from orchestrator.clock import SystemClock
from orchestrator.definition.state import Effect
from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.inspection.standing import driver, local_time
from orchestrator.inspection.stored_run import AnyStoredRun
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.effects import effects_of, why_nothing_to_undo
from orchestrator.lifecycle.events import Event
from orchestrator.lifecycle.instance import RESUMABLE, AnyInstance, Status
from orchestrator.lifecycle.run import Recorded, RunRecord, RunStatus
from orchestrator.secret import Secret
from orchestrator.storage.checkpoint import make_converter

_NOTHING_NEXT = {
    Status.COMPLETED: "it has reached its end",
    Status.ROLLED_BACK: "everything it made was removed",
    Status.FAILED: "it is kept as it is",
    Status.ROLLBACK_FAILED: "some of its objects are left over",
}


@attrs.frozen(kw_only=True)
class Explanation:
    """All that the store knows of one instance."""

    instance: AnyInstance
    recorded: Recorded
    """Whose requests the run keeps."""
    next: str
    """The next action of a driver, and its reason."""
    driver: str | None
    """The process that drives its shard."""
    effects: tuple[tuple[str, Effect], ...]
    """State and effect of everything that exists, or may exist, oldest first."""
    rollback_would_remove: tuple[Effect, ...]
    """In the order of the rollback: newest first."""
    proof: Mapping[str, str]
    """The facts that a completed instance shows."""
    context: object
    """The context as JSON data, with stars in place of secrets."""
    history: tuple[Event, ...]
    exchanges: tuple[JSONObject, ...]
    """The requests that were kept, with their answers, secrets masked, as entries of an HTTP archive (HAR)."""
    why_no_exchanges: str
    """The reason why ``exchanges`` is empty, if it is."""


async def explain(run: AnyStoredRun, number: int) -> Explanation | None:
    """An instance of a run; ``None`` if it was not started."""
    instance = await run.instance(number)
    if instance is None:
        return None
    shard = next(shard for shard in await run.store.shards(run.record.id) if shard.owns(number))
    evidence = await run.store.evidence(run.record.id, number)
    workflow, effects = run.workflow, effects_of(run.workflow, instance)
    proved = workflow.prove is not None and instance.status is Status.COMPLETED
    return Explanation(
        instance=instance,
        recorded=run.record.recorded,
        next=next_step(workflow, instance, run_ended=run.record.status is RunStatus.FINISHED),
        driver=driver(shard),
        effects=tuple(effects),
        rollback_would_remove=tuple(
            effect
            for state, effect in reversed(effects)
            if state in workflow.state_named and workflow.state_named[state].can_roll_back
        ),
        proof=dict(workflow.prove(instance.context).facts) if proved and workflow.prove else {},
        context=_masked(make_converter().unstructure(instance.context)),
        history=tuple(await run.store.events(run.record.id, number)),
        exchanges=tuple(run.reader().codec.evidence(instance.id, evidence)),
        why_no_exchanges="" if evidence else why_not_recorded(run.record, instance),
    )


def next_step(workflow: AnyWorkflow, instance: AnyInstance, *, run_ended: bool = True) -> str:
    """The next action of a driver for an instance, and its reason.

    Args:
        run_ended: Whether its run is finished; commands for an ended instance have to wait until then.
    """
    if instance.status not in RESUMABLE:
        commands = ", ".join(_commands(workflow, instance))
        when = "" if run_ended else "once the run is finished, "
        return f"nothing: {_NOTHING_NEXT[instance.status]}" + (f"; {when}{commands}" if commands else "")
    now = SystemClock().now()
    wait = f" at {local_time(instance.not_before)}" if instance.not_before and instance.not_before > now else ""
    attempt = instance.failures + 1
    if instance.status is Status.ROLLING_BACK:
        left = [name for name in reversed(instance.trail) if workflow.state_named[name].can_roll_back]
        why = f", because {instance.rollback_failure.message}" if instance.rollback_failure else ""
        return f"roll back {left[0]} (attempt {attempt}){wait}{why}, then {len(left) - 1} more" if left else "end the rollback"
    state = workflow.state_named[instance.position]
    doubt = instance.doubt or instance.status is Status.RUNNING
    if doubt and state.can_recover:
        return f"look whether an earlier attempt at {state.name} had its effect{wait}, and repeat it only if not"
    why = f", because {instance.failure.message}" if instance.failures and instance.failure else ""
    return f"attempt {attempt} of at most {state.retry.attempts} at {state.name}{wait}{why}"


def _commands(workflow: AnyWorkflow, instance: AnyInstance) -> Iterator[str]:
    """The commands that change an ended instance."""
    if instance.status is Status.FAILED:
        yield f"`orchestrator retry {instance.id}` continues it"
    if not why_nothing_to_undo(workflow, instance):
        does = "tries again" if instance.status is Status.ROLLBACK_FAILED else "removes its objects"
        yield f"`orchestrator cleanup {instance.id}` {does}"


def why_not_recorded(record: RunRecord, instance: AnyInstance) -> str:
    """Why no request of an instance is stored."""
    if record.recorded is Recorded.ALL:
        return "it has sent none so far"
    if instance.failure is not None and instance.status not in RESUMABLE:
        return "the process that saw it fail had sent none of its requests"
    ended = {
        Status.COMPLETED: "it completed",
        Status.ROLLED_BACK: "it did not fail, `orchestrator cleanup` rolled it back",
        Status.ROLLBACK_FAILED: "it did not fail before `orchestrator cleanup` rolled it back",
    }.get(instance.status, "it has not failed")
    return f"{ended}, and the run keeps those of failed instances (start it with --record all to keep all)"


def _masked(value: object) -> object:
    """The value with stars in place of secrets."""
    if isinstance(value, Secret):
        return str(value)
    if isinstance(value, dict):
        return {key: _masked(inner) for key, inner in value.items()}
    return [_masked(inner) for inner in value] if isinstance(value, list | tuple) else value
