"""The command ``resume``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator import api
from orchestrator.cli.continuing import continue_run
from orchestrator.cli.naming import parse_run
from orchestrator.driving.plan import Mode
from orchestrator.lifecycle.events import Observer


async def command(
    observers: Sequence[Observer], *, run: str | None = None, json: bool = False, config: Path | None = None, **flags: Any
) -> int:
    """Go on with an interrupted run: what was in flight first, then what was not started yet.

    Without RUN, the newest run that is not finished. Nothing is created twice: a step whose answer was lost is
    looked for before it is repeated. Needs no settings: the run has them. It writes the reports that the run was
    started with, and those that are named here.

    Examples:
      orchestrator resume
      orchestrator resume 261123-k7m3qp
      orchestrator resume --junit load.xml
      orchestrator resume 261123-k7m3qp --client-secret-file new-secret    (the worker's secret was changed meanwhile)
    """
    named = parse_run(run) if run is not None else None
    return await continue_run(api.resume, observers, named, json, config, flags, mode=Mode.RESUME)
