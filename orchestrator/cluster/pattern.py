"""The pattern of the tasks of a run: what all of them have in common."""

from __future__ import annotations

import orjson

from orchestrator.cluster.pool import Task
from orchestrator.cluster.reference import reference_to
from orchestrator.driving.options import AnyJob
from orchestrator.driving.orders import Orders
from orchestrator.lifecycle.run import RunRecord
from orchestrator.storage.checkpoint import dumps, make_converter


def pattern_of(job: AnyJob, record: RunRecord, settings: object, orders: Orders, *, store: str, judged: bool) -> Task:
    """A task without shards, with the settings encrypted.

    Args:
        store: URL of the store, for the workers.
        judged: Whether the launcher judges thresholds.
    """
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
        orders=orders,
    )
