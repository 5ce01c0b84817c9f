"""The page with the list of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import attrs
from aiohttp import web

from orchestrator.definition.registry import workflow_names
from orchestrator.inspection.result import result_from
from orchestrator.inspection.standing import driver, standing
from orchestrator.inspection.stored_run import every_run
from orchestrator.lifecycle.instance import Status
from orchestrator.lifecycle.run import RunRecord, RunStatus
from orchestrator.load.series import count_ended
from orchestrator.storage.listing import RunCursor, RunFilter, RunPage
from orchestrator.web.render import fragment, page
from orchestrator.web.site import SITE, Site, run_id_of

PAGE = 25
"""Runs on a page."""
SPARK_WIDTH, SPARK_HEIGHT = 120, 24


@attrs.frozen(kw_only=True)
class Listed:
    """A run in the list."""

    record: RunRecord
    standing: str
    counts: Mapping[Status, int]
    is_driven: bool

    @property
    def total(self) -> int:
        """Number of instances."""
        return sum(self.counts.values())


@attrs.frozen(kw_only=True)
class Query:
    """A filter of the list and a place in it, as the address says."""

    status: str = ""
    workflow: str = ""
    text: str = ""
    """Beginning of an id."""
    after: str = ""
    """The last run of the page before: when it started, and its id."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Query:
        """From the address."""
        return cls(**{name: query.get(name, "").strip()[:100] for name in attrs.fields_dict(cls)})

    @property
    def wanted(self) -> RunFilter:
        """The filter. An unknown status means any."""
        statuses = [status for status in RunStatus if status.value == self.status]
        return RunFilter(statuses=statuses or None, workflow=self.workflow or None)

    @property
    def cursor(self) -> RunCursor | None:
        """The place; a damaged one means the beginning."""
        at, _, run_id = self.after.partition("_")
        try:
            return RunCursor(float(at), run_id)
        except ValueError:
            return None

    def further(self, cursor: RunCursor) -> Mapping[str, str]:
        """The parts of the address of the page behind a place."""
        values = attrs.asdict(attrs.evolve(self, after=f"{cursor.created_at!r}_{cursor.run_id}"))
        return {name: value for name, value in values.items() if value}


class ListValues(TypedDict):
    """The values of the list's template."""

    listed: Sequence[Listed]
    total: int
    query: Query
    older: Mapping[str, str] | None


async def show(request: web.Request) -> web.Response:
    """The page."""
    site, query = request.app[SITE], Query.of(request.query)
    return page(
        "runs.html",
        title="Runs",
        statuses=[status.value for status in RunStatus],
        workflows=workflow_names(),
        where=site.store.where,
        can_start=site.can_begin,
        events=str(request.rel_url.with_path("/events", keep_query=True)),
        **await list_values(site, query),
    )


async def list_fragment(site: Site, query: Query) -> str:
    """The list alone, for the page to replace."""
    return fragment("runs/list.html", **await list_values(site, query))


async def list_values(site: Site, query: Query) -> ListValues:
    """One page of the list."""
    found = await _found(site, query)
    return ListValues(
        listed=[await _row(site, record) for record in found.runs],
        total=found.total,
        query=query,
        older=query.further(found.next) if found.next is not None else None,
    )


async def _found(site: Site, query: Query) -> RunPage:
    if not query.text:
        return await site.store.runs(query.wanted, after=query.cursor, limit=PAGE)
    records = [run async for run in every_run(site.store, query.wanted) if run.id.startswith(query.text)]
    cursor = query.cursor
    behind = [run for run in records if cursor is None or RunCursor.of(run) < cursor]
    return RunPage.cut(behind[: PAGE + 1], PAGE, len(records))


async def _row(site: Site, record: RunRecord) -> Listed:
    shards = await site.store.shards(record.id)
    return Listed(
        record=record,
        standing=standing(record, shards),
        counts=result_from(record, (await site.counted.of(record)).places).counts,
        is_driven=any(driver(shard) is not None for shard in shards),
    )


async def sparkline(request: web.Request) -> web.Response:
    """Ended instances over time, as a small picture. It needs no key."""
    windows = [one for one in (await request.app[SITE].measured.of(run_id_of(request))).windows if one.width > 0]
    values = [count_ended(window.counters) / window.width for window in windows]
    text = fragment("spark.svg", points=_points(values), width=SPARK_WIDTH, height=SPARK_HEIGHT)
    return web.Response(text=text, content_type="image/svg+xml")


def _points(values: Sequence[float]) -> str:
    """The points of a line that fills the picture."""
    highest, last = max(values, default=0.0) or 1.0, max(1, len(values) - 1)
    inside = SPARK_HEIGHT - 4
    return " ".join(
        f"{2 + index * (SPARK_WIDTH - 4) / last:.1f},{2 + inside - inside * value / highest:.1f}"
        for index, value in enumerate(values)
    )
