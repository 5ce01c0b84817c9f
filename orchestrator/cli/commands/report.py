"""The command ``report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.cli.console import stdout
from orchestrator.cli.naming import newest_run, parse_run
from orchestrator.cli.outputs import Outputs, check_writable
from orchestrator.cli.resolver import Resolver
from orchestrator.definition.registry import find_workflow
from orchestrator.inspection.reading import check_key, result_of
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import RunRecord
from orchestrator.report import json as json_report
from orchestrator.report.exit_codes import ExitCode
from orchestrator.report.picture import Picture, take_picture
from orchestrator.report.summary import summarise
from orchestrator.storage import open_store
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault


async def command(
    observers: Sequence[Observer],
    *,
    run: str | None = None,
    output: str | None = None,
    csv: str | None = None,
    junit: str | None = None,
    json: bool = False,
    config: Path | None = None,
    **flags: Any,
) -> int:
    """Write what a run has measured as one HTML file, which needs nothing else; also as CSV, JUnit XML or JSON.

    Without RUN, the newest run. It works while the run goes on, from another terminal, too.

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
    async with open_store(resolver.engine().value.url, create=False) as store:
        record = await store.run(named) if named is not None else await newest_run(store)
        outputs = Outputs((output or f"{record.id}.html") if wants_page else None, csv, junit)
        outputs.check()
        vault = resolver.vault()
        picture = await picture_of(store, vault, record)
        written = await outputs.write(picture.workflow, store, vault, record, picture.summary)
    if json:
        data = json_report.document(picture.summary, picture.summary.exit_code())
        stdout().print(json_report.dumps(data))
        return ExitCode.SUCCESS
    for path in written:
        stdout().print(f"written: {path}")
    return ExitCode.SUCCESS


async def picture_of(store: Store, vault: Vault, record: RunRecord) -> Picture:
    """All that the reports show of a run."""
    check_key(record, vault)
    workflow = find_workflow(record.workflow)
    result = await result_of(store, record)
    summary = await summarise(workflow, store, vault, record, result)
    return await take_picture(workflow, store, vault, record, summary)
