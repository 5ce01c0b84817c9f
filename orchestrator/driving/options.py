"""Options: how this process drives a run. They are not stored with the run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias

import attrs

from orchestrator.clock import Clock, SystemClock
from orchestrator.definition.state import C, S
from orchestrator.definition.tracing import RequestTracer
from orchestrator.definition.workflow import Workflow
from orchestrator.inputs.staging import StoredRows
from orchestrator.inspection.stored_run import StoredRun
from orchestrator.lifecycle.events import Observer
from orchestrator.lifecycle.run import RunRecord
from orchestrator.settings import GRACE_S, LEASE_S
from orchestrator.storage.base import Store
from orchestrator.storage.encryption import Vault


class Tracer(Observer, RequestTracer, Protocol):
    """Traces instances from their events, and the requests that their handlers send."""


@attrs.frozen(kw_only=True)
class WorkerTraces:
    """Traces that each worker process of a run sends by OTLP itself, with the extra ``otel``."""

    variables: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """Variables ``OTEL_…`` for those that a worker's environment does not set. They travel encrypted: headers are secret."""
    propagate: bool = False
    """Whether requests carry the header ``traceparent``."""


@attrs.frozen(kw_only=True)
class Options:
    """How a process drives a run; not stored with the run."""

    lease_s: float = attrs.field(default=LEASE_S, validator=attrs.validators.gt(0))
    """Lease duration in seconds; it is renewed three times as often."""
    grace_s: float = GRACE_S
    """Grace period for attempts in flight after a request to stop, in seconds."""
    directory: Path | None = None
    """Where services may keep files (the embedded sandbox keeps its state there); ``None``: nowhere."""
    vault: Vault | None = None
    """Encrypts secrets; ``None``: the key from ``ORCHESTRATOR_KEY`` or the user's key file."""
    observers: Sequence[Observer] = ()
    """They are called in this process, also with the events of worker processes."""
    tracer: Tracer | None = None
    """Makes traces; it is an observer as well. Not for a run on worker processes."""
    worker_traces: WorkerTraces | None = None
    """Traces of a run on worker processes."""
    clock: Clock = attrs.field(factory=SystemClock)
    rng: random.Random = attrs.field(factory=random.Random)
    """Source of random jitter."""

    @property
    def all_observers(self) -> Sequence[Observer]:
        """The observers, and the tracer before them."""
        return self.observers if self.tracer is None else (self.tracer, *self.observers)


@attrs.frozen(kw_only=True)
class Job(Generic[C, S]):
    """A workflow with everything that this process needs to drive a run of it."""

    workflow: Workflow[C, S]
    settings: object
    store: Store
    vault: Vault
    options: Options

    @property
    def clock(self) -> Clock:
        """The clock of the options."""
        return self.options.clock

    def stored(self, record: RunRecord) -> StoredRun[C]:
        """A run of this workflow in this store."""
        return StoredRun(record=record, workflow=self.workflow, store=self.store, vault=self.vault)

    def rows_of(self, record: RunRecord) -> StoredRows[C] | None:
        """The rows of a run of this workflow; ``None``: it has none."""
        if record.rows is None:
            return None
        return StoredRows(workflow=self.workflow, run_id=record.id, rows=record.rows, store=self.store, vault=self.vault)


AnyJob: TypeAlias = Job[Any, Any]
"""A job where the context and the services of its workflow do not matter."""
