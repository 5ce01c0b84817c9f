"""The page of an instance: its status and the reason, its attempts over time, its effects and its requests."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import attrs
import orjson
from aiohttp import web

from orchestrator.definition.workflow import AnyWorkflow
from orchestrator.errors import UnknownRunError
from orchestrator.inspection.claims import claims_of
from orchestrator.inspection.explain import Explanation, explain
from orchestrator.json_types import JSONObject
from orchestrator.lifecycle.events import Event, EventKind
from orchestrator.lifecycle.instance import NOT_COMPLETED, RESUMABLE
from orchestrator.report import json as json_report
from orchestrator.report.instance import describe_outcome
from orchestrator.web.controls import controls_of_instance
from orchestrator.web.render import page
from orchestrator.web.site import SITE, number_of, run_of

BAR = 1000
"""Width of the time line."""
_BAD = {EventKind.RETRY, EventKind.FAILED, EventKind.LEFT_OVER}
_UNDONE = {EventKind.UNDONE}


@attrs.frozen(kw_only=True)
class Bar:
    """An event of an instance on its time line."""

    at: float
    state: str
    handler: str
    took_ms: float | None
    text: str
    style: str
    x: float
    width: float
    missing: int
    """Events before this one that are not kept."""


@attrs.frozen(kw_only=True)
class Request:
    """A request and its answer, secrets masked."""

    started: str
    method: str
    url: str
    ended: str
    took_ms: float
    curl: str
    headers: Sequence[tuple[str, str]]
    body: str
    answer_headers: Sequence[tuple[str, str]]
    answer_body: str
    comment: str
    """The text to show if the exchange cannot be shown."""

    @property
    def is_bad(self) -> bool:
        """Whether there was no answer, or one that says no."""
        return not self.ended.isdecimal() or int(self.ended) >= 400


async def show(request: web.Request) -> web.Response:
    """The page."""
    site, run = request.app[SITE], await run_of(request)
    found = await _explained(request)
    instance = found.instance
    return page(
        "instance.html",
        can_start=site.can_begin,
        title=instance.id,
        record=run.record,
        found=found,
        instance=instance,
        order=run.workflow.order(instance.position),
        states=len(run.workflow.states),
        bars=list(bars(found, run.workflow)),
        requests=[_request(entry) for entry in found.exchanges],
        context=_indented(found.context),
        tokens=[(one.name, _indented(one.header), _indented(one.claims)) for one in claims_of(instance.context)],
        controls=controls_of_instance(site, run.record, run.workflow, instance),
        resumable=instance.status in RESUMABLE,
        bad=instance.status in NOT_COMPLETED,
    )


async def archive(request: web.Request) -> web.Response:
    """The requests of an instance as an HTTP archive (HAR), secrets masked."""
    found = await _explained(request)
    if not found.exchanges:
        raise web.HTTPNotFound
    headers = {"Content-Disposition": f'attachment; filename="{found.instance.id}.har"'}
    return web.Response(text=json_report.har(found.exchanges), content_type="application/json", headers=headers)


async def _explained(request: web.Request) -> Explanation:
    run, number = await run_of(request), number_of(request)
    found = await explain(run, number)
    if found is None:
        raise UnknownRunError(f"instance {run.record.id}-{number}", run.store.where)
    return found


def bars(found: Explanation, workflow: AnyWorkflow) -> Iterator[Bar]:
    """The history of an instance as bars: each attempt from its beginning to its end."""
    events = found.history
    if not events:
        return
    begin = min(event.at - (event.duration_s or 0.0) for event in events)
    length = max(max(event.at for event in events) - begin, 1e-6)
    seq = 0
    for event in events:
        missing = max(0, (event.seq or 0) - seq - 1)
        seq = event.seq or seq
        duration = event.duration_s or 0.0
        yield Bar(
            at=event.at,
            state=event.state,
            handler=event.handler or "",
            took_ms=None if event.duration_s is None else event.duration_s * 1000,
            text=describe_outcome(event),
            style=_style(event),
            x=round(BAR * (event.at - duration - begin) / length, 1),
            width=round(max(3.0, BAR * duration / length), 1),
            missing=missing,
        )


def _style(event: Event) -> str:
    if event.kind in _BAD or event.error:
        return "bad"
    if event.kind in _UNDONE:
        return "undone"
    return "plain" if event.duration_s is not None else "mark"


def _request(entry: JSONObject) -> Request:
    if "request" not in entry:
        return Request(
            started="", method="", url="", ended="", took_ms=0.0, curl="", headers=(), body="", answer_headers=(),
            answer_body="", comment=str(entry["comment"]),
        )  # fmt: skip
    sent, answer = entry["request"], entry["response"]
    return Request(
        started=str(entry["startedDateTime"]),
        method=sent["method"],
        url=sent["url"],
        ended=str(answer.get("_error") or answer["status"] or "no answer"),
        took_ms=entry["time"],
        curl=curl(sent),
        headers=_headers(sent),
        body=sent.get("postData", {}).get("text") or "",
        answer_headers=_headers(answer),
        answer_body=answer["content"].get("text") or "",
        comment="",
    )


def _headers(part: JSONObject) -> list[tuple[str, str]]:
    return [(header["name"], header["value"]) for header in part.get("headers", ())]


def curl(sent: JSONObject) -> str:
    """A request of an HTTP archive as a command for a shell; masked values stay masked."""
    words = ["curl", "--request", sent["method"], sent["url"]]
    for name, value in _headers(sent):
        if name.lower() not in ("content-length", "host"):
            words += ["--header", f"{name}: {value}"]
    if body := sent.get("postData", {}).get("text"):
        words += ["--data-raw", body]
    return shlex.join(words)


def _indented(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode()
