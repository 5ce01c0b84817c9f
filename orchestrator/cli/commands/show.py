"""The command ``show``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from orchestrator.cli.console import stdout
from orchestrator.cli.display.base import describe
from orchestrator.cli.naming import newest_run, parse_instance
from orchestrator.cli.outputs import check_writable, write_files
from orchestrator.cli.resolver import Resolver
from orchestrator.cli.standing import driver, standing, when
from orchestrator.clock import SystemClock
from orchestrator.definition.registry import find_workflow
from orchestrator.definition.workflow import Workflow
from orchestrator.errors import ConfigurationError, UnknownRunError
from orchestrator.inspection.reading import check_key, load_instance, result_of, stored_settings
from orchestrator.lifecycle.effects import effects_of
from orchestrator.lifecycle.events import Event, Observer
from orchestrator.lifecycle.instance import RESUMABLE, Instance, Status
from orchestrator.lifecycle.run import Recorded, RunRecord
from orchestrator.report import json as json_report
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.summary import summarise
from orchestrator.report.text import lines
from orchestrator.secret import Secret
from orchestrator.storage import open_store
from orchestrator.storage.base import HISTORY_TAIL, Shard, Store
from orchestrator.storage.checkpoint import Codec, make_converter
from orchestrator.storage.encryption import Vault

BODY_SHOWN = 500
"""Characters of a body."""


async def command(
    observers: Sequence[Observer],
    *,
    what: str | None = None,
    har: str | None = None,
    json: bool = False,
    config: Path | None = None,
    **flags: Any,
) -> int:
    """Show a run, or one instance of it: history, where it stands, what it created, what would happen next and why.

    Without an id, the newest run. An instance is named by the run and its number.

    Examples:
      orchestrator show 261123-k7m3qp
      orchestrator show 261123-k7m3qp-0    (the history of the first instance)
      orchestrator show 261123-k7m3qp-17 --har 17.har    (what it said before it failed, secrets masked)
    """
    resolver = Resolver(flags, config)
    engine = resolver.engine().value
    suffix = resolver.suffix
    named = parse_instance(what) if what is not None else None
    if har is not None:
        check_writable("har", Path(har))
    async with open_store(engine.url, create=False) as store:
        run_id, number = named or ((await newest_run(store)).id, None)
        record = await store.run(run_id)
        workflow = find_workflow(record.workflow)
        vault = resolver.vault()
        check_key(record, vault)
        if number is None:
            if har is not None:
                raise ConfigurationError("--har is of one instance: name it, e.g. by `orchestrator show RUN-NUMBER --har FILE`")
            return await _show_run(workflow, store, vault, record, json, suffix)
        instance = await load_instance(workflow, store, vault, run_id, number)
        if instance is None:
            raise UnknownRunError(f"instance {what}", store.where)
        shard = next(one for one in await store.shards(run_id) if one.owns(number))
        events = await store.events(run_id, number)
        exchanges = Codec(workflow, vault).evidence(instance.id, await store.evidence(run_id, number))
    data = _instance_data(workflow, record, instance, shard, events) | {"exchanges": exchanges}
    if har is not None:
        if not exchanges:
            raise ConfigurationError(f"no request of {instance.id} is stored: {why_not_recorded(record, instance)}")
        write_files({Path(har): json_report.har(exchanges)})
    if json:
        stdout().print(json_report.dumps(data))
    else:
        _print_instance(workflow, data, events)
    return ExitCode.SUCCESS


async def _show_run(
    workflow: Workflow[Any, Any], store: Store, vault: Vault, record: RunRecord, as_json: bool, suffix: str | None
) -> int:
    result = await result_of(store, record)
    summary = await summarise(workflow, store, vault, record, result)
    shards = await store.shards(record.id)
    settings = _shown_settings(workflow, record, vault)
    places = Counter({place: number for (status, place), number in (await store.counts(record.id)).items()})
    head = {
        "status": standing(record, shards),
        "started": when(record.created_at),
        "workflow": f"{record.workflow} version {record.version}",
        "scenario": record.scenario.describe(),
        "policies": f"on failure {record.on_failure.value}, on success {record.on_success.value}",
        "rates": ", ".join(f"{group} {rate:g}/s" for group, rate in record.rates.items()) or "no limits",
        "settings": ", ".join(f"{name}={value}" for name, value in settings.items()) or "none",
    }
    if as_json:
        data = json_report.document(summary, summary.exit_code(), suffix) | {"head": head, "places": dict(places)}
        stdout().print(json_report.dumps(data))
        return ExitCode.SUCCESS
    console = stdout()
    for name, value in head.items():
        console.print(f"{name:<10} {value}")
    if sum(places.values()) > 1:
        console.print("\nWhere its instances are")
        for place, number in sorted(places.items(), key=lambda item: workflow.order(item[0])):
            console.print(f"  {number:>6}  {place}")
    console.print()
    for line in lines(summary, suffix):
        console.print(line)
    return ExitCode.SUCCESS


def _shown_settings(workflow: Workflow[Any, Any], record: RunRecord, vault: Vault) -> Mapping[str, Any]:
    settings = stored_settings(workflow, record, vault)
    if settings is None:
        return {}
    shown = {name: getattr(settings, name) for name in attrs.fields_dict(type(settings))}
    return {name: value for name, value in shown.items() if value is not None and not isinstance(value, Secret)}


def _instance_data(
    workflow: Workflow[Any, Any], record: RunRecord, instance: Instance[Any], shard: Shard, events: Sequence[Event]
) -> dict[str, Any]:
    effects = effects_of(workflow, instance)
    rollback = [
        effect for name, effect in reversed(effects) if name in workflow.state_named and workflow.state_named[name].can_roll_back
    ]
    proved = workflow.prove is not None and instance.status is Status.COMPLETED
    return {
        "instance": instance.id,
        "status": instance.status.value,
        "position": instance.position,
        "recorded": record.recorded.value,
        "next": _next(workflow, record, instance),
        "driver": driver(shard),
        "failure": attrs.asdict(instance.failure) if instance.failure else None,
        "effects": [attrs.asdict(effect) | {"state": state} for state, effect in effects],
        "rollback_would_remove": [attrs.asdict(effect) for effect in rollback],
        "leftovers": [attrs.asdict(left) for left in instance.leftovers],
        "proof": dict(workflow.prove(instance.context).facts) if proved and workflow.prove else {},
        "backward_transitions": dict(instance.backward),
        "context": _shown_context(instance.context),
        "history": [
            {key: value for key, value in attrs.asdict(event).items() if value is not None and key not in ("run_id", "number")}
            for event in events
        ],
    }


def why_not_recorded(record: RunRecord, instance: Instance[Any]) -> str:
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


def _shown_context(context: Any) -> Any:
    """The context with stars for its secrets."""

    def mask(value: Any) -> Any:
        if isinstance(value, Secret):
            return str(value)
        if isinstance(value, dict):
            return {key: mask(inner) for key, inner in value.items()}
        return [mask(inner) for inner in value] if isinstance(value, list | tuple) else value

    return mask(make_converter().unstructure(context))


def _next(workflow: Workflow[Any, Any], record: RunRecord, instance: Instance[Any]) -> str:
    """What a driver would do with it now, and why."""
    if instance.status not in RESUMABLE:
        more = {
            Status.COMPLETED: "it has reached its end",
            Status.ROLLED_BACK: "everything it made was removed",
            Status.FAILED: "it is kept as it is; `orchestrator retry` has it go on, `orchestrator cleanup` removes what it made",
            Status.ROLLBACK_FAILED: "some of what it made is left over; `orchestrator cleanup` tries again",
        }
        return f"nothing: {more[instance.status]}"
    now = SystemClock().now()
    wait = f" at {when(instance.not_before)}" if instance.not_before and instance.not_before > now else ""
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


def _print_instance(workflow: Workflow[Any, Any], data: Mapping[str, Any], events: Sequence[Event]) -> None:
    console = stdout()

    def say(text: str) -> None:
        console.print(text)

    say(f"instance   {data['instance']}")
    say(f"status     {_place(data)}")
    say(f"next       {data['next']}")
    say(f"driver     {data['driver'] or 'none'}")
    if data["failure"]:
        failure = data["failure"]
        say(f"failure    {failure['state']}, attempt {failure['attempt']} ({failure['kind']}): {failure['message']}")
        for line in (failure["trace"] or "").rstrip().splitlines():
            say(f"           {line}")
    _print_history(workflow, events, say)
    _print_exchanges(data["exchanges"], data["recorded"], say)
    say("\nWhat it created that exists, or may exist" if data["effects"] else "\nNothing of it exists in the environment.")
    for effect in data["effects"]:
        say(f"  {effect['kind']:<12} {effect['name']}  {effect['id'] or '(id never seen)'}")
    if data["rollback_would_remove"]:
        say("\nA rollback would remove, in this order")
        say("  " + ", ".join(effect["kind"] for effect in data["rollback_would_remove"]))
    for left in data["leftovers"]:
        say(f"  left over: {left['effect']['kind']} {left['effect']['name']}: {left['error']}")
    if data["proof"]:
        say("\nProof")
        for label, fact in data["proof"].items():
            say(f"  {label:<16} {fact}")


def _place(data: Mapping[str, Any]) -> str:
    """The status, and the state that the instance stands in, or failed in."""
    status, failure = str(data["status"]).replace("_", " "), data["failure"]
    if data["status"] == Status.FAILED and failure:
        return f"{status} in {failure['state']}"
    return f"{status}, in {data['position']}" if data["status"] in (Status.RUNNING, Status.SUSPENDED) else status


def _print_history(workflow: Workflow[Any, Any], events: Sequence[Event], say: Callable[[str], None]) -> None:
    say("\nHistory")
    seq = 0
    for event in events:
        if event.seq is not None and event.seq > seq + 1:
            say(f"  … {event.seq - seq - 1} events are not kept: of a long history the first and the last {HISTORY_TAIL} are")
        seq = event.seq or seq
        line = describe(event, workflow)
        if line is not None:
            clock = f"{datetime.fromtimestamp(event.at, UTC).astimezone():%H:%M:%S.%f}"[:-3]
            say(f"  {clock} {line}")


def _print_exchanges(exchanges: Sequence[Mapping[str, Any]], recorded: str, say: Callable[[str], None]) -> None:
    if exchanges:
        which = "Requests" if recorded == Recorded.ALL else "Last requests before it failed"
        say(f"\n{which}, secrets masked (--har FILE exports them)")
    for exchange in exchanges:
        if "request" not in exchange:
            say(f"  {exchange['comment']}")
            continue
        request, response = exchange["request"], exchange["response"]
        ended = response.get("_error") or response["status"] or "no answer"
        clock = f"{datetime.fromisoformat(exchange['startedDateTime']).astimezone():%H:%M:%S.%f}"[:-3]
        say(f"  {clock} {request['method']} {request['url']} → {ended} in {exchange['time']:.0f} ms")
        for mark, text in ((">", request.get("postData", {}).get("text")), ("<", response["content"]["text"])):
            if text:
                say(f"    {mark} {text if len(text) <= BODY_SHOWN else text[:BODY_SHOWN] + ' …'}")
