"""An instance as text for people, and as JSON data for programs: history, position, effects, requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import attrs

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.inspection.explain import Explanation
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.events import REQUESTED, Event, EventKind
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import Recorded
from orchestrator.storage.records import HISTORY_TAIL

BODY_SHOWN = 500
"""Characters of a body."""


def document(found: Explanation) -> JSONObject:
    """For programs; keys are stable."""
    instance = found.instance
    return {
        "instance": instance.id,
        "status": instance.status.value,
        "position": instance.position,
        "recorded": found.recorded.value,
        "next": found.next,
        "driver": found.driver,
        "failure": attrs.asdict(instance.failure) if instance.failure else None,
        "effects": [attrs.asdict(effect) | {"state": state} for state, effect in found.effects],
        "rollback_would_remove": [attrs.asdict(effect) for effect in found.rollback_would_remove],
        "leftovers": [attrs.asdict(left) for left in instance.leftovers],
        "proof": dict(found.proof),
        "backward_transitions": dict(instance.backward),
        "context": found.context,
        "history": [
            {key: value for key, value in attrs.asdict(event).items() if value is not None and key not in ("run_id", "number")}
            for event in found.history
        ],
        "exchanges": list(found.exchanges),
    }


def lines(workflow: AnyWorkflow, found: Explanation) -> Iterator[str]:
    """For people."""
    instance = found.instance
    yield f"instance   {instance.id}"
    yield f"status     {_status(found)}"
    yield f"next       {found.next}"
    yield f"driver     {found.driver or 'none'}"
    if (failure := instance.failure) is not None:
        yield f"failure    {failure.state}, attempt {failure.attempt} ({failure.kind}): {failure.message}"
        yield from (f"           {line}" for line in (failure.trace or "").rstrip().splitlines())
    yield from _history(workflow, found.history)
    yield from _exchanges(found)
    yield ""
    yield "Created objects that exist, or may exist" if found.effects else "Nothing of it exists in the environment."
    for _, effect in found.effects:
        yield f"  {effect.kind:<12} {effect.name}  {effect.id or '(id never seen)'}"
    if found.rollback_would_remove:
        yield ""
        yield "A rollback would remove, in this order"
        yield "  " + ", ".join(effect.kind for effect in found.rollback_would_remove)
    for left in instance.leftovers:
        yield f"  left over: {left.effect.kind} {left.effect.name}: {left.error}"
    if found.proof:
        yield ""
        yield "Proof"
        yield from (f"  {label:<16} {fact}" for label, fact in found.proof.items())


def describe(event: Event, workflow: AnyWorkflow) -> str | None:
    """An event as one line; ``None`` for events that only programs need."""
    if event.kind not in _SHOWN:
        return None
    took = f"{event.duration_s * 1000:7.1f} ms" if event.duration_s is not None else " " * 10
    order = workflow.order(event.state)
    numbered = order <= len(workflow.states) and event.kind not in (EventKind.UNDONE, EventKind.LEFT_OVER)
    return f"{order if numbered else '':>3}  {event.state:<24} {took}  {describe_outcome(event)}"


_SHOWN = frozenset(EventKind) - {EventKind.ATTEMPT, EventKind.ANSWER, EventKind.STARTED, EventKind.ENDED}


def describe_outcome(event: Event) -> str:
    """The result of an event, in a few words."""
    match event.kind:
        case EventKind.MOVED:
            outcome = event.outcome if event.handler == "run" else f"{event.outcome} (recovered)"
            return f"{outcome}  → {event.target}" if event.outcome != "done" else f"{outcome}"
        case EventKind.RETRY:
            return f"attempt {event.attempt} failed: {event.error}"
        case EventKind.NOT_FOUND:
            return "recovery: its effect does not exist"
        case EventKind.ROLLING_BACK:
            if event.error:
                return f"failed: {event.error}"
            return "rollback requested" if event.outcome == REQUESTED else "tearing down"
        case EventKind.UNDONE:
            return "rolled back"
        case EventKind.LEFT_OVER:
            return f"left over: {event.error}"
        case EventKind.PUT_BACK:
            return "put back, to be retried"
        case EventKind.ENDED:
            return f"ended: {event.outcome}"
        case _:
            return event.kind.value + (f": {event.error}" if event.error else "")


def _status(found: Explanation) -> str:
    """The status, and the state that the instance is in, or failed in."""
    instance = found.instance
    status = instance.status.value.replace("_", " ")
    if instance.status is Status.FAILED and instance.failure is not None:
        return f"{status} in {instance.failure.state}"
    return f"{status}, in {instance.position}" if instance.status in (Status.RUNNING, Status.SUSPENDED) else status


def _history(workflow: AnyWorkflow, events: tuple[Event, ...]) -> Iterator[str]:
    yield ""
    yield "History"
    seq = 0
    for event in events:
        if event.seq is not None and event.seq > seq + 1:
            yield f"  … {event.seq - seq - 1} events are not kept: of a long history the first and the last {HISTORY_TAIL} are"
        seq = event.seq or seq
        line = describe(event, workflow)
        if line is not None:
            yield f"  {_time_of_day(datetime.fromtimestamp(event.at, UTC))} {line}"


def _exchanges(found: Explanation) -> Iterator[str]:
    if found.exchanges:
        which = "Requests" if found.recorded is Recorded.ALL else "Last requests before it failed"
        yield ""
        yield f"{which}, secrets masked (--har FILE exports them)"
    for exchange in found.exchanges:
        yield from _exchange(exchange)


def _exchange(exchange: JSONObject) -> Iterator[str]:
    if "request" not in exchange:
        yield f"  {exchange['comment']}"
        return
    request, response = exchange["request"], exchange["response"]
    ended = response.get("_error") or response["status"] or "no answer"
    started = _time_of_day(datetime.fromisoformat(exchange["startedDateTime"]))
    yield f"  {started} {request['method']} {request['url']} → {ended} in {exchange['time']:.0f} ms"
    for mark, text in ((">", request.get("postData", {}).get("text")), ("<", response["content"]["text"])):
        if text:
            yield f"    {mark} {text if len(text) <= BODY_SHOWN else text[:BODY_SHOWN] + ' …'}"


def _time_of_day(moment: datetime) -> str:
    return f"{moment.astimezone():%H:%M:%S.%f}"[:-3]
