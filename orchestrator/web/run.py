"""The page of a run, its instances, and its reports."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import orjson
from aiohttp import web

from orchestrator.errors import CheckpointError, EncryptionKeyError
from orchestrator.inspection.details import details_of
from orchestrator.inspection.stored_run import AnyStoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.lifecycle.instance import Status
from orchestrator.load.statistics import Statistics
from orchestrator.report import html
from orchestrator.report import json as json_report
from orchestrator.report.charts import latencies_of, latency_over_time, main_of, over_time
from orchestrator.report.verdict import exit_code
from orchestrator.storage.records import Checkpoint
from orchestrator.web.render import page
from orchestrator.web.run_view import PARTS, view_of
from orchestrator.web.site import SITE, run_of

INSTANCES = 50
"""Instances on a page."""


async def show(request: web.Request) -> web.Response:
    """The page."""
    run = await run_of(request)
    view = await view_of(request.app[SITE], run)
    return page(
        "run.html",
        title=f"{run.record.workflow} {run.record.id}",
        view=view,
        found=view.found,
        parts=PARTS,
        settings=run.shown_settings(),
        can_start=request.app[SITE].can_begin,
        refresh=view.found.is_driven,
    )


async def charts(request: web.Request) -> web.Response:
    """The data of the charts, as JSON. The parameter ``series`` chooses the latency."""
    run = await run_of(request)
    values = chart_values(run, await request.app[SITE].measured.of(run.record.id), request.query.get("series", ""))
    return web.Response(body=orjson.dumps(values), content_type="application/json")


def chart_values(run: AnyStoredRun, statistics: Statistics, series: str) -> Mapping[str, object]:
    """The data of the charts.

    Args:
        series: The latency to show; that of the workflow's last segment if there is none of this name.
    """
    names = latencies_of(run.workflow, statistics)
    name = series if series in names else main_of(run.workflow, names)
    values = over_time(run.workflow, run.record.scenario, statistics)
    return values | {"series": name, "names": names, "latency": latency_over_time(statistics, name)}


@attrs.frozen(kw_only=True)
class InstanceRow:
    """An instance in a list."""

    number: int
    status: Status
    position: str
    updated_at: float
    failure: str


async def instances(request: web.Request) -> web.Response:
    """The instances of a run, by status, in pages."""
    run = await run_of(request)
    status = next((one for one in Status if one.value == request.query.get("status")), None)
    after = request.query.get("after", "")
    last = int(after) if after.isascii() and after.isdecimal() and len(after) <= 10 else -1
    rows = await run.store.load(run.record.id, None if status is None else {status}, after=last, limit=INSTANCES + 1)
    shown = [await _row(run, row) for row in rows[:INSTANCES]]
    return page(
        "instances.html",
        can_start=request.app[SITE].can_begin,
        title=f"Instances of {run.record.id}",
        record=run.record,
        rows=shown,
        chosen=status.value if status else "",
        statuses=[one.value for one in Status if one is not Status.PENDING],
        further=shown[-1].number if len(rows) > INSTANCES else None,
    )


async def _row(run: AnyStoredRun, row: Checkpoint) -> InstanceRow:
    failure = ""
    if row.status is not Status.COMPLETED:
        try:
            instance = await run.reader().decode(row)
            failure = f"{instance.failure.state}: {instance.failure.message}" if instance.failure else ""
        except (CheckpointError, EncryptionKeyError) as error:
            failure = str(error)
    return InstanceRow(number=row.number, status=row.status, position=row.position, updated_at=row.updated_at, failure=failure)


async def report(request: web.Request) -> web.Response:
    """The report of a run, as a file that needs nothing else."""
    run = await run_of(request)
    text = html.page(await details_of(run, await summarise(run)))
    return web.Response(text=text, content_type="application/octet-stream", headers=_saved_as(f"{run.record.id}.html"))


async def report_json(request: web.Request) -> web.Response:
    """The report of a run, for programs."""
    run = await run_of(request)
    summary = await summarise(run)
    text = json_report.dumps(json_report.document(summary, exit_code(summary)))
    return web.Response(text=text, content_type="application/json", headers=_saved_as(f"{run.record.id}.json"))


def _saved_as(name: str) -> Mapping[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
