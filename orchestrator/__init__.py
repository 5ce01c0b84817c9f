"""A durable, asynchronous state-machine orchestrator.

The names exported here are the public API: they suffice to write a workflow and to drive it. Each is imported from its
module when it is first used, so that a command that needs little of the engine starts quickly.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for true; the module ``typing`` is not imported for it

if TYPE_CHECKING:
    from orchestrator.api import Run, cleanup, resume, retry, start
    from orchestrator.clock import Clock, SystemClock
    from orchestrator.cluster import dask_cluster
    from orchestrator.copying import copy_run
    from orchestrator.definition.function_state import state
    from orchestrator.definition.retry_policy import RetryPolicy
    from orchestrator.definition.state import DONE, Back, Effect, NextRound, Outcome, Recovery, Repeat, State, Step, done
    from orchestrator.definition.tracing import RequestTracer, TracedRequest
    from orchestrator.definition.workflow import Proof, Quota, Segment, ServiceContext, Workflow
    from orchestrator.driving.options import Options, WorkerTraces
    from orchestrator.driving.recording import Exchange, record_exchange
    from orchestrator.errors import (
        AmbiguousError,
        CheckpointError,
        ClusterError,
        ConfigurationError,
        DefinitionError,
        EncryptionKeyError,
        ExpiredError,
        LeaseExpiredError,
        LeaseHeldError,
        OrchestratorError,
        PermanentError,
        RunConflictError,
        RunExistsError,
        RunInUseError,
        ServicesError,
        SettingError,
        StaleEpochError,
        StepError,
        StoreError,
        StoreLostError,
        ThrottledError,
        TransientError,
        UndeclaredOutcomeError,
        UnknownRunError,
        UnknownWorkflowError,
        WorkflowChangedError,
    )
    from orchestrator.inspection.result import RunResult
    from orchestrator.lifecycle.bounds import ENDLESS
    from orchestrator.lifecycle.decision import OnFailure, OnSuccess
    from orchestrator.lifecycle.events import Event, EventKind, EventStream, Observer
    from orchestrator.lifecycle.instance import RESUMABLE, TERMINAL, Failure, Instance, Leftover, Status
    from orchestrator.lifecycle.pauses import ThinkTime, ThinkTimeKind
    from orchestrator.lifecycle.ramp import Stage
    from orchestrator.lifecycle.run import RunRecord, RunStatus
    from orchestrator.lifecycle.scenario import Scenario
    from orchestrator.pruning import PruneResult, prune
    from orchestrator.redaction import Redactor, visible
    from orchestrator.resuming import Resumed, Resumption, resume_all
    from orchestrator.secret import Secret
    from orchestrator.settings import setting
    from orchestrator.storage import open_store
    from orchestrator.storage.base import Store
    from orchestrator.storage.encryption import Vault, find_key, new_key
    from orchestrator.storage.listing import RunCursor, RunFilter, RunPage
    from orchestrator.storage.records import Checkpoint, Shard
    from orchestrator.storage.usage import RunUsage

__all__ = [
    "DONE",
    "ENDLESS",
    "RESUMABLE",
    "TERMINAL",
    "AmbiguousError",
    "Back",
    "Checkpoint",
    "CheckpointError",
    "Clock",
    "ClusterError",
    "ConfigurationError",
    "DefinitionError",
    "Effect",
    "EncryptionKeyError",
    "Event",
    "EventKind",
    "EventStream",
    "Exchange",
    "ExpiredError",
    "Failure",
    "Instance",
    "LeaseExpiredError",
    "LeaseHeldError",
    "Leftover",
    "NextRound",
    "Observer",
    "OnFailure",
    "OnSuccess",
    "Options",
    "OrchestratorError",
    "Outcome",
    "PermanentError",
    "Proof",
    "PruneResult",
    "Quota",
    "Recovery",
    "Redactor",
    "Repeat",
    "RequestTracer",
    "Resumed",
    "Resumption",
    "RetryPolicy",
    "Run",
    "RunConflictError",
    "RunCursor",
    "RunExistsError",
    "RunFilter",
    "RunInUseError",
    "RunPage",
    "RunRecord",
    "RunResult",
    "RunStatus",
    "RunUsage",
    "Scenario",
    "Secret",
    "Segment",
    "ServiceContext",
    "ServicesError",
    "SettingError",
    "Shard",
    "Stage",
    "StaleEpochError",
    "State",
    "Status",
    "Step",
    "StepError",
    "Store",
    "StoreError",
    "StoreLostError",
    "SystemClock",
    "ThinkTime",
    "ThinkTimeKind",
    "ThrottledError",
    "TracedRequest",
    "TransientError",
    "UndeclaredOutcomeError",
    "UnknownRunError",
    "UnknownWorkflowError",
    "Vault",
    "WorkerTraces",
    "Workflow",
    "WorkflowChangedError",
    "cleanup",
    "copy_run",
    "dask_cluster",
    "done",
    "find_key",
    "new_key",
    "open_store",
    "prune",
    "record_exchange",
    "resume",
    "resume_all",
    "retry",
    "setting",
    "start",
    "state",
    "visible",
]

_NAMES_OF = {
    "cluster": ("dask_cluster",),
    "clock": ("Clock", "SystemClock"),
    "lifecycle.decision": ("OnFailure", "OnSuccess"),
    "api": ("Run", "cleanup", "resume", "retry", "start"),
    "storage.encryption": ("Vault", "find_key", "new_key"),
    "errors": (
        "AmbiguousError",
        "CheckpointError",
        "ClusterError",
        "ConfigurationError",
        "DefinitionError",
        "EncryptionKeyError",
        "ExpiredError",
        "LeaseExpiredError",
        "LeaseHeldError",
        "OrchestratorError",
        "PermanentError",
        "RunConflictError",
        "RunExistsError",
        "RunInUseError",
        "ServicesError",
        "SettingError",
        "StaleEpochError",
        "StepError",
        "StoreError",
        "StoreLostError",
        "ThrottledError",
        "TransientError",
        "UndeclaredOutcomeError",
        "UnknownRunError",
        "UnknownWorkflowError",
        "WorkflowChangedError",
    ),
    "lifecycle.events": ("Event", "EventKind", "EventStream", "Observer"),
    "lifecycle.instance": ("RESUMABLE", "TERMINAL", "Failure", "Instance", "Leftover", "Status"),
    "inspection.result": ("RunResult",),
    "driving.recording": ("Exchange", "record_exchange"),
    "copying": ("copy_run",),
    "pruning": ("PruneResult", "prune"),
    "resuming": ("Resumed", "Resumption", "resume_all"),
    "redaction": ("Redactor", "visible"),
    "definition.function_state": ("state",),
    "definition.retry_policy": ("RetryPolicy",),
    "lifecycle.run": ("RunRecord", "RunStatus"),
    "driving.options": ("Options", "WorkerTraces"),
    "lifecycle.bounds": ("ENDLESS",),
    "lifecycle.pauses": ("ThinkTime", "ThinkTimeKind"),
    "lifecycle.ramp": ("Stage",),
    "lifecycle.scenario": ("Scenario",),
    "secret": ("Secret",),
    "settings": ("setting",),
    "definition.state": ("DONE", "NextRound", "Back", "Effect", "Recovery", "Outcome", "Repeat", "State", "Step", "done"),
    "definition.tracing": ("RequestTracer", "TracedRequest"),
    "storage": ("open_store",),
    "storage.base": ("Store",),
    "storage.records": ("Checkpoint", "Shard"),
    "storage.listing": ("RunCursor", "RunFilter", "RunPage"),
    "storage.usage": ("RunUsage",),
    "definition.workflow": ("ServiceContext", "Proof", "Quota", "Segment", "Workflow"),
}
"""Module → the names that come from it: those of the imports above."""

_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
