"""Executes a run around an ``async with`` block: finds its key, its worker processes, and raises its errors."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio

from orchestrator.api.run import Run
from orchestrator.definition.state import C
from orchestrator.driving.coordinator import Coordinator
from orchestrator.driving.options import Options
from orchestrator.settings import default_key_file
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault, find_key

if TYPE_CHECKING:
    from orchestrator.cluster.pool import OpenPool
    from orchestrator.cluster.spread import Spread


@asynccontextmanager
async def running(coordinator: Coordinator[C, Any], *, existed: bool = False) -> AsyncIterator[Run[C]]:
    """Execute the run around the block, and raise its error, or that of the block, as it is: not in an ``ExceptionGroup``."""
    body_error: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(coordinator.execute, name=f"run {coordinator.record.id}")
        await coordinator.ready.wait()
        if coordinator.error is None:
            try:
                yield Run(coordinator, existed=existed)
                await coordinator.ended.wait()
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001  # raised below
                body_error = error
                coordinator.cancel()
    if body_error is not None:
        raise body_error
    if coordinator.error is not None and not coordinator.raised:
        raise coordinator.error


def spread_over(processes: int, cluster: OpenPool | None, store: Store, options: Options) -> Spread | None:
    """The worker processes of a run; ``None``: this process drives it."""
    if processes == 1 and cluster is None:
        return None
    from orchestrator.cluster.spread import Spread  # noqa: PLC0415  # most runs have one process

    return Spread(processes=processes, cluster=cluster, store=store, options=options)


def find_vault(options: Options, store: Store, *, create: bool) -> Vault:
    """The vault of the options; without one, a vault with the key of the store, or of the user. ``create`` makes a missing user's key."""
    if options.vault is not None:
        return options.vault
    if store.key is not None:
        return Vault(store.key, store.where)
    return find_key(os.environ, default_key_file(), create=create)
