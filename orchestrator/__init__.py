"""A durable, asynchronous state-machine orchestrator.

What is exported here is the public API: a workflow is written with, and driven by, these names alone. Each is imported from its
module when it is first used, so that a command that needs little of the engine starts quickly.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers take it for true; the module ``typing`` is not imported for it

if TYPE_CHECKING:
    from orchestrator.clock import Clock, SystemClock
    from orchestrator.decision import OnFailure, OnSuccess
    from orchestrator.embedding import Run, cleanup, resume, retry, start
    from orchestrator.encryption import Vault, find_key, new_key
    from orchestrator.errors import (
        AmbiguousError,
        CheckpointError,
        ConfigurationError,
        DefinitionError,
        EncryptionKeyError,
        ExpiredError,
        LeaseExpiredError,
        LeaseHeldError,
        OrchestratorError,
        PermanentError,
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
    from orchestrator.events import Event, EventKind, EventStream, Observer
    from orchestrator.instance import RESUMABLE, TERMINAL, Failure, Instance, Leftover, Status
    from orchestrator.reading import RunResult
    from orchestrator.recording import Exchange, record
    from orchestrator.redaction import Redactor, visible
    from orchestrator.retry_policy import RetryPolicy
    from orchestrator.run import RunRecord, RunStatus
    from orchestrator.runner import Options
    from orchestrator.scenario import ENDLESS, Scenario, Stage, Think, ThinkKind
    from orchestrator.secret import Secret
    from orchestrator.settings import setting
    from orchestrator.state import DONE, Again, Back, Effect, Look, Outcome, Repeat, State, Step, done
    from orchestrator.stores import open_store
    from orchestrator.stores.base import Checkpoint, Shard, Store
    from orchestrator.workflow import Opening, Proof, Room, Span, Workflow

__all__ = [
    "DONE",
    "ENDLESS",
    "RESUMABLE",
    "TERMINAL",
    "Again",
    "AmbiguousError",
    "Back",
    "Checkpoint",
    "CheckpointError",
    "Clock",
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
    "Look",
    "Observer",
    "OnFailure",
    "OnSuccess",
    "Opening",
    "Options",
    "OrchestratorError",
    "Outcome",
    "PermanentError",
    "Proof",
    "Redactor",
    "Repeat",
    "RetryPolicy",
    "Room",
    "Run",
    "RunRecord",
    "RunResult",
    "RunStatus",
    "Scenario",
    "Secret",
    "ServicesError",
    "SettingError",
    "Shard",
    "Span",
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
    "Think",
    "ThinkKind",
    "ThrottledError",
    "TransientError",
    "UndeclaredOutcomeError",
    "UnknownRunError",
    "UnknownWorkflowError",
    "Vault",
    "Workflow",
    "WorkflowChangedError",
    "cleanup",
    "done",
    "find_key",
    "new_key",
    "open_store",
    "record",
    "resume",
    "retry",
    "setting",
    "start",
    "visible",
]

_NAMES_OF = {
    "clock": ("Clock", "SystemClock"),
    "decision": ("OnFailure", "OnSuccess"),
    "embedding": ("Run", "cleanup", "resume", "retry", "start"),
    "encryption": ("Vault", "find_key", "new_key"),
    "errors": (
        "AmbiguousError",
        "CheckpointError",
        "ConfigurationError",
        "DefinitionError",
        "EncryptionKeyError",
        "ExpiredError",
        "LeaseExpiredError",
        "LeaseHeldError",
        "OrchestratorError",
        "PermanentError",
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
    "events": ("Event", "EventKind", "EventStream", "Observer"),
    "instance": ("RESUMABLE", "TERMINAL", "Failure", "Instance", "Leftover", "Status"),
    "reading": ("RunResult",),
    "recording": ("Exchange", "record"),
    "redaction": ("Redactor", "visible"),
    "retry_policy": ("RetryPolicy",),
    "run": ("RunRecord", "RunStatus"),
    "runner": ("Options",),
    "scenario": ("ENDLESS", "Scenario", "Stage", "Think", "ThinkKind"),
    "secret": ("Secret",),
    "settings": ("setting",),
    "state": ("DONE", "Again", "Back", "Effect", "Look", "Outcome", "Repeat", "State", "Step", "done"),
    "stores": ("open_store",),
    "stores.base": ("Checkpoint", "Shard", "Store"),
    "workflow": ("Opening", "Proof", "Room", "Span", "Workflow"),
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
