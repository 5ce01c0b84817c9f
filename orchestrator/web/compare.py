"""The page that compares two runs."""

from __future__ import annotations

from aiohttp import web

from orchestrator.errors import ConfigurationError, OrchestratorError, UnknownRunError
from orchestrator.inspection.details import Details, details_of
from orchestrator.inspection.stored_run import newest_runs
from orchestrator.inspection.summary import summarise
from orchestrator.lifecycle.ids import parse_id
from orchestrator.lifecycle.run import RunRecord
from orchestrator.report.charts import over_time
from orchestrator.report.comparison import compare
from orchestrator.report.html import comparison_data
from orchestrator.report.templates import script_data
from orchestrator.web.render import page
from orchestrator.web.site import SITE, Site

CHOICES = 100
"""Runs to choose from."""


async def show(request: web.Request) -> web.Response:
    """The page: the runs of the parameters ``run``, older first, or a form to choose them."""
    site = request.app[SITE]
    records = await newest_runs(site.store, CHOICES)
    named = [text.strip() for text in request.query.getall("run", []) if text.strip()]
    problem = ""
    if len(named) == 2 and named[0] != named[1]:
        try:
            return await _compared(site, records, named)
        except (ConfigurationError, UnknownRunError, ValueError) as error:
            problem = str(error)
    elif named:
        problem = "Choose two different runs."
    return page("choose.html", can_start=site.can_begin, title="Compare", records=records, named=named, problem=problem)


async def _compared(site: Site, records: list[RunRecord], named: list[str]) -> web.Response:
    chosen = [await site.store.run(parse_id(text)[0]) for text in named]
    first, second = [await _details(site, record) for record in sorted(chosen, key=lambda record: record.created_at)]
    if first.summary.workflow != second.summary.workflow:
        raise ConfigurationError("The two runs are of different workflows: there is nothing to compare.")
    comparison = compare(first, second)
    lines = [over_time(one.workflow, one.summary.scenario, one.summary.statistics) for one in (first, second)]
    return page(
        "compare.html",
        can_start=site.can_begin,
        title=f"{first.record.id} and {second.record.id}",
        comparison=comparison,
        records=records,
        named=[first.record.id, second.record.id],
        data=script_data(comparison_data(comparison) | {"over_time": lines}),
    )


async def _details(site: Site, record: RunRecord) -> Details:
    run = site.stored(record)
    try:
        return await details_of(run, await summarise(run))
    except OrchestratorError as error:
        raise ConfigurationError(str(error) if record.id in str(error) else f"run {record.id}: {error}") from error
