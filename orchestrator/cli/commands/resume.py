"""The command ``resume``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator import api
from orchestrator.cli.continuing import continue_run
from orchestrator.cli.naming import parse_run
from orchestrator.cli.resuming import resume_every
from orchestrator.cli.run_settings import OutputSettings
from orchestrator.driving.plan import Mode
from orchestrator.errors import ConfigurationError
from orchestrator.lifecycle.events import Observer
from orchestrator.settings import RUNS_AT_ONCE, settings_of


async def command(
    observers: Sequence[Observer],
    *,
    run: str | None = None,
    everything: bool = False,
    concurrency: int | None = None,
    json: bool = False,
    config: Path | None = None,
    web: str | None = None,
    **flags: object,
) -> int:
    """Resume an interrupted run: unfinished instances first, then those that were not started.

    Without RUN, the newest unfinished run. Nothing is created twice: before a step whose answer was lost is repeated,
    its effect is searched for. The settings are stored with the run. When the run ends, its reports are written;
    one that is named here replaces a stored one of the same form.

    Examples:
      orchestrator resume
      orchestrator resume 261123-k7m3qp
      orchestrator resume --all    (every unfinished run that no other process drives, four at once)
      orchestrator resume --all --concurrency 10
      orchestrator resume --junit load.xml
      orchestrator resume 261123-k7m3qp --client-secret-file new-secret    (the worker's secret has changed)
    """
    if everything:
        if run is not None or web is not None or any(flags.get(one.name) is not None for one in settings_of(OutputSettings)):
            raise ConfigurationError("--all resumes every run, so it takes neither RUN, nor --web, nor a report of one run")
        return await resume_every(observers, RUNS_AT_ONCE if concurrency is None else concurrency, json, config, flags)
    if concurrency is not None:
        raise ConfigurationError("--concurrency says how many runs --all resumes at once; add --all")
    named = parse_run(run) if run is not None else None
    return await continue_run(api.resume, observers, named, json, config, flags, mode=Mode.RESUME, web=web)
