"""The pattern of the tasks of a run: their common fields."""

from __future__ import annotations

import orjson

from orchestrator.cluster.pool import Task
from orchestrator.cluster.reference import reference_to
from orchestrator.cluster.traces import sealed_traces
from orchestrator.driving.options import AnyJob
from orchestrator.driving.orders import Orders
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.checkpoint import dumps, make_converter
from orchestrator.storage.lease import this_process


def pattern_of(job: AnyJob, record: RunRecord, settings: object, *, store: str, judged: bool) -> Task:
    """A task without shards and orders, with the settings encrypted.

    Args:
        store: URL of the store, for the workers.
        judged: Whether the launcher judges thresholds.
    """
    asked = job.options.worker_traces
    sealed = orjson.loads(dumps(make_converter().unstructure(settings), job.vault, record.id.encode()))
    return Task(
        run_id=record.id,
        shards=(),
        attempt="",
        workflow=reference_to(job.workflow),
        definition=job.workflow.definition,
        store=store,
        store_timeout_s=job.store.timeout_s,
        settings={"workflow": sealed},
        lease_s=job.options.lease_s,
        grace_s=job.options.grace_s,
        places=None,
        elapsed=0.0,
        judged=judged,
        traces=None if asked is None else sealed_traces(asked, job.vault, record.id),
        launcher=str(this_process()),
        orders=Orders(),
    )
