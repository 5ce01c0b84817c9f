"""The command ``compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
from rich.table import Table
from rich.text import Text

from orchestrator.cli.console import stdout
from orchestrator.cli.naming import parse_run
from orchestrator.cli.opening import opened_store
from orchestrator.cli.outputs import check_writable, write_files
from orchestrator.cli.resolver import Resolver
from orchestrator.errors import ConfigurationError
from orchestrator.inspection.details import details_of
from orchestrator.inspection.stored_run import AnyStoredRun, StoredRun, newest_runs
from orchestrator.inspection.summary import summarise
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import RunRecord
from orchestrator.report import json as json_report
from orchestrator.report.comparison import Change, Comparison, compare
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.regression import Judgement
from orchestrator.report.regression import parse_all as parse_conditions
from orchestrator.storage.base import Store


async def command(
    observers: Sequence[Observer],
    *,
    first: str | None = None,
    second: str | None = None,
    output: str | None = None,
    fail_on: Sequence[str] | None = None,
    json: bool = False,
    config: Path | None = None,
    **flags: object,
) -> int:
    """Show two runs side by side: rates, failures, and the percentiles of each state.

    Without ids, the newest run and the one before it. A condition of --fail-on limits the change from the first run to the
    second: [NAME.]STATISTIC, one of < <= > >=, and a percentage. NAME is a state or a segment (default: the last segment of the
    workflow). STATISTIC is min, p50, p90, p95, p99, p99.9, max or rate. 'memory > +20%' limits the memory of this program. The
    exit code is 4 if a condition is met, or if one of the runs has no such measurement.

    Examples:
      orchestrator compare 261122-8fq2ms 261123-k7m3qp
      orchestrator compare --output compare.html
      orchestrator compare 261122-8fq2ms 261123-k7m3qp --fail-on 'sign_on.p95 > +10%' --fail-on 'sign_on.rate < -5%'
    """
    resolver = Resolver(flags, config)
    if output is not None:
        check_writable("output", Path(output))
    async with opened_store(resolver.engine().value, create=False) as store:
        records = await _two(store, first, second)
        vault = resolver.vault()
        runs: list[AnyStoredRun] = [StoredRun.of(record, store, vault) for record in records]
        first_run, second_run = [await details_of(run, await summarise(run)) for run in runs]
    if first_run.summary.workflow != second_run.summary.workflow:
        raise ConfigurationError("the two runs are of different workflows: there is nothing to compare")
    conditions = parse_conditions(fail_on or (), first_run.workflow)
    comparison = compare(first_run, second_run)
    judgements = [condition.judge(first_run, second_run) for condition in conditions]
    code = ExitCode.THRESHOLD if any(judgement.met for judgement in judgements) else ExitCode.SUCCESS
    if output is not None:
        from orchestrator.report.html import comparison_page  # noqa: PLC0415  # with Jinja2 behind it

        write_files({Path(output): comparison_page(comparison)})
    if json:
        stdout().print(json_report.dumps(_comparison_data(comparison, judgements, code)))
        return code
    for judgement in sorted(judgements, key=lambda one: not one.met):
        stdout().print(f"{'FAILS' if judgement.met else 'ok   '}  {judgement.text}: {judgement.found}")
    stdout().print(_comparison_table(comparison))
    if output is not None:
        stdout().print(f"written: {output}")
    return code


def _comparison_data(comparison: Comparison, judgements: Sequence[Judgement], code: int) -> dict[str, object]:
    return {
        "exit_code": code,
        "runs": [details.summary.run_id for details in (comparison.first, comparison.second)],
        "fail_on": [attrs.asdict(judgement) for judgement in judgements],
        "numbers": [attrs.asdict(change) for change in comparison.numbers],
        "latencies": {name: [attrs.asdict(change) for change in changes] for name, changes in comparison.latencies},
    }


def _comparison_table(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for details in (comparison.first, comparison.second):
        table.add_column(details.summary.run_id, justify="right", no_wrap=True)
    table.add_column("change", justify="right", no_wrap=True)
    for change in comparison.numbers:
        table.add_row(change.what, change.before, change.after, _coloured(change))
    for name, changes in comparison.latencies:
        for change in changes:
            table.add_row(f"{name} {change.what}, ms", change.before, change.after, _coloured(change))
    return table


def _coloured(change: Change) -> Text:
    return Text(change.change, "" if change.better is None else "green" if change.better else "red")


async def _two(store: Store, first: str | None, second: str | None) -> list[RunRecord]:
    if first is not None and second is not None:
        return [await store.run(parse_run(first)), await store.run(parse_run(second))]
    if first is not None:
        raise ConfigurationError("name two runs, or none for the last two")
    runs = await newest_runs(store, 2)
    if len(runs) < 2:
        raise ConfigurationError(f"there is only one run in {store.where}" if runs else f"there is no run in {store.where}")
    return [runs[1], runs[0]]
