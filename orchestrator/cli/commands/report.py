"""The command ``report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.cli.console import stdout
from orchestrator.cli.naming import named_or_newest, parse_run
from orchestrator.cli.opening import opened_store
from orchestrator.cli.outputs import Outputs, check_writable
from orchestrator.cli.resolver import Resolver
from orchestrator.inspection.stored_run import AnyStoredRun, StoredRun
from orchestrator.inspection.summary import summarise
from orchestrator.lifecycle.events import Observer
from orchestrator.report import json as json_report
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.verdict import exit_code


async def command(
    observers: Sequence[Observer],
    *,
    run: str | None = None,
    output: str | None = None,
    csv: str | None = None,
    junit: str | None = None,
    json: bool = False,
    config: Path | None = None,
    **flags: object,
) -> int:
    """Write the measurements of a run as one self-contained HTML file; also as CSV, JUnit XML or JSON.

    Without RUN, the newest run. Also works while the run is in progress, from another terminal.

    Examples:
      orchestrator report
      orchestrator report 261123-k7m3qp --output load.html
      orchestrator report 261123-k7m3qp --csv numbers/ --junit load.xml
    """
    resolver = Resolver(flags, config)
    named = parse_run(run) if run is not None else None
    wants_page = output is not None or not (csv or junit or json)
    if output is not None:
        check_writable("output", Path(output))
    async with opened_store(resolver.engine().value, create=False) as store:
        record = await named_or_newest(store, named)
        outputs = Outputs((output or f"{record.id}.html") if wants_page else None, csv, junit)
        outputs.check()
        stored: AnyStoredRun = StoredRun.of(record, store, resolver.vault())
        summary = await summarise(stored)
        written = await outputs.write(stored, summary)
    if json:
        data = json_report.document(summary, exit_code(summary))
        stdout().print(json_report.dumps(data))
        return ExitCode.SUCCESS
    for path in written:
        stdout().print(f"written: {path}")
    return ExitCode.SUCCESS
