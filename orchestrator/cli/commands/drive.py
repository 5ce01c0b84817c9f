"""The command ``drive``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from orchestrator import api
from orchestrator.cli.continuing import continue_run
from orchestrator.cli.naming import parse_run
from orchestrator.driving.plan import Mode
from orchestrator.errors import ConfigurationError
from orchestrator.lifecycle.events import Observer


async def command(
    observers: Sequence[Observer],
    *,
    run: str | None = None,
    shard: Sequence[int] | None = None,
    json: bool = False,
    config: Path | None = None,
    **flags: object,
) -> int:
    """Drive some shards of a run, beside other processes that drive the others.

    A run is split when it is started (`load --shards 2`). The process that finishes the last shard finishes the run. An
    interrupted shard is driven again by the same command, or by `orchestrator resume`, which drives every free one.

    Examples:
      orchestrator load --instances 500 --concurrency 50 --shards 2 --no-drive
      orchestrator drive 261123-k7m3qp --shard 0
      orchestrator drive 261123-k7m3qp --shard 1    (in another process)
    """
    if run is None or not shard:
        raise ConfigurationError("name the run and a shard of it, e.g. orchestrator drive 261123-k7m3qp --shard 0")
    how = partial(api.resume, shards=sorted(set(shard)))
    return await continue_run(how, observers, parse_run(run), json, config, flags, mode=Mode.RESUME, here=True)
