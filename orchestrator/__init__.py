"""A durable, asynchronous state-machine orchestrator.

What is exported here is the public API: a workflow is written with, and driven by, these names alone.
"""

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
from orchestrator.retry import RetryPolicy
from orchestrator.run import RunRecord, RunStatus
from orchestrator.runner import Options
from orchestrator.scenario import ENDLESS, Scenario, Stage, Think, ThinkKind
from orchestrator.secret import Secret, redact
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
    "redact",
    "resume",
    "retry",
    "setting",
    "start",
]
