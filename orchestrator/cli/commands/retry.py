"""The command ``retry``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from orchestrator import api
from orchestrator.cli.continuing import continue_run
from orchestrator.cli.naming import parse_instance
from orchestrator.driving.plan import Mode
from orchestrator.lifecycle.events import Observer


async def command(
    observers: Sequence[Observer], *, id: str | None = None, json: bool = False, config: Path | None = None, **flags: object
) -> int:
    """Retry the failed instances that a finished run kept, each from the step that failed.

    Without an id, those of the newest run. Use it after fixing the cause; attempts are counted from 1 again. Nothing is
    created twice: if the step that failed may have had its effect, the effect is searched for first.

    Examples:
      orchestrator retry 261123-k7m3qp
      orchestrator retry 261123-k7m3qp-17    (only this instance)
      orchestrator retry --client-secret-file new-secret    (the worker's secret has changed)
    """
    named, number = parse_instance(id) if id is not None else (None, None)
    how = partial(api.retry, number=number)
    return await continue_run(how, observers, named, json, config, flags, mode=Mode.RETRY, number=number)
