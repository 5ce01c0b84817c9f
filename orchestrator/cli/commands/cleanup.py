"""The command ``cleanup``."""

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
    """Remove everything that a run created: of completed, failed and interrupted instances, leftovers included.

    Without RUN, the newest run. Instances that were not started will not be. Objects that cannot be removed are listed, and
    the exit code is 3.

    Examples:
      orchestrator cleanup
      orchestrator cleanup 261123-k7m3qp
    """
    named = parse_run(run) if run is not None else None
    return await continue_run(api.cleanup, observers, named, json, config, flags, mode=Mode.CLEAN_UP)
