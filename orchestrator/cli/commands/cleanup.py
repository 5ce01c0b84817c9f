"""The command ``cleanup``."""

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
    """Remove everything that a run, or one instance of it, created: of completed, failed and interrupted instances, leftovers included.

    Without an id, that of the newest run. Instances that were not started will not be. Objects that cannot be removed are
    listed, and the exit code is 3. One instance can be rolled back when the run is finished; the others keep their objects.

    Examples:
      orchestrator cleanup
      orchestrator cleanup 261123-k7m3qp
      orchestrator cleanup 261123-k7m3qp-17    (only this instance)
    """
    named, number = parse_instance(id) if id is not None else (None, None)
    mode = Mode.CLEAN_UP if number is None else Mode.ROLL_BACK
    how = partial(api.cleanup, number=number)
    return await continue_run(how, observers, named, json, config, flags, mode=mode, number=number)
