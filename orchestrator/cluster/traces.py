"""Traces of worker processes: each sends its own. Their settings are sent encrypted in the task."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import orjson

from orchestrator.driving.options import Tracer, WorkerTraces
from orchestrator.errors import SettingError
from orchestrator.secret import Secret
from orchestrator.storage.encryption import Vault

_log = logging.getLogger("orchestrator.telemetry")


def sealed_traces(wanted: WorkerTraces, vault: Vault, run_id: str) -> str:
    """The settings with which workers send traces, encrypted."""
    return vault.seal_secret(Secret(orjson.dumps(attrs.asdict(wanted)).decode()), _place(run_id))


@asynccontextmanager
async def open_traces(
    sealed: str | None, vault: Vault, run_id: str, shards: tuple[int, ...], workflow: str
) -> AsyncIterator[Tracer | None]:
    """Send the traces of this process while the block lasts. A problem is logged, and the run goes on without them."""
    if sealed is None:
        yield None
        return
    wanted = WorkerTraces(**orjson.loads(vault.open_secret(sealed, _place(run_id)).reveal()))
    try:
        from orchestrator.telemetry.otlp import Otlp, variables_set  # noqa: PLC0415  # with the SDK behind it

        with variables_set(wanted.variables):
            resource = {"orchestrator.run": run_id, "orchestrator.shards": ",".join(map(str, shards))}
            otlp = Otlp(None, propagate=wanted.propagate, environ=os.environ.copy(), resource=resource)
    except (ModuleNotFoundError, SettingError) as error:
        _log.warning("this worker process sends no traces: %s", error)
        yield None
        return
    try:
        yield otlp.tracing(workflow)
    finally:
        await otlp.close()


def _place(run_id: str) -> bytes:
    return f"{run_id} traces".encode()
